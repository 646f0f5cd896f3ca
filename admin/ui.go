package admin

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"sync"
)

//go:embed ui
var uiFiles embed.FS

// uiPolicy is what a browser may do for the dashboard: load its own scripts
// and styles, ask its own endpoint, and nothing else. So a name or a message
// that comes from a request can never become a script.
const uiPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
	"frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

// uiFile is one file of the dashboard.
type uiFile struct {
	data  []byte
	media string
	etag  string
}

var uiMedia = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	"":      "text/plain; charset=utf-8", // LICENSE
}

// theUI are all files of the dashboard, by path.
var theUI = sync.OnceValue(func() map[string]uiFile {
	files := make(map[string]uiFile)
	_ = fs.WalkDir(uiFiles, "ui", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := uiFiles.ReadFile(name)
		sum := sha256.Sum256(data)
		files[strings.TrimPrefix(name, "ui/")] = uiFile{data, uiMedia[path.Ext(name)], `"` + hex.EncodeToString(sum[:8]) + `"`}
		return err
	})
	return files
})

// adminUI serves /firebreak/ui/: the dashboard.
func adminUI(w http.ResponseWriter, r *http.Request, _ *API) error {
	name := r.PathValue("file")
	if name == "" {
		name = "index.html"
	}
	file, ok := theUI()[name]
	if !ok {
		return apiError(http.StatusNotFound, "the dashboard has no file %s; it is at /firebreak/ui/", name)
	}
	header := w.Header()
	header.Set("Content-Type", file.media)
	header.Set("Content-Security-Policy", uiPolicy)
	header.Set("Cache-Control", "no-cache") // kept, but asked for again: a new version has new files
	header.Set("ETag", file.etag)
	if hasETag(r.Header.Get("If-None-Match"), file.etag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	if r.Method != http.MethodHead {
		_, _ = w.Write(file.data)
	}
	return nil
}

// secure sets the headers that keep browsers from misusing an answer.
func secure(header http.Header) {
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("X-Frame-Options", "DENY")
	// Caddy wants to know which page its own endpoint is asked by; no other
	// learns the names of zones and stores from an address.
	header.Set("Referrer-Policy", "same-origin")
}
