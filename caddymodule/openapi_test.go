package caddymodule_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/firebreak-proxy/firebreak/admin"
)

// openAPI is docs/openapi.yaml.
type openAPI struct {
	document map[string]any
	compiler *jsonschema.Compiler
	mu       sync.Mutex
	schemas  map[string]*jsonschema.Schema // guarded by mu; by JSON pointer
}

const openAPIName = "openapi.json"

var description = sync.OnceValues(func() (*openAPI, error) {
	data, err := os.ReadFile("../docs/openapi.yaml")
	if err != nil {
		return nil, err
	}
	var tree map[string]any
	if err := yaml.Unmarshal(data, &tree); err != nil {
		return nil, err
	}
	if data, err = json.Marshal(tree); err != nil {
		return nil, err
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	o := &openAPI{document: document.(map[string]any), compiler: jsonschema.NewCompiler(), schemas: make(map[string]*jsonschema.Schema)}
	o.compiler.AssertFormat()
	return o, o.compiler.AddResource(openAPIName, document)
})

// at finds what is at a path of names, following references. It returns the
// path it was found at.
func (o *openAPI) at(path ...string) (any, []string) {
	var found any = o.document
	for i, name := range path {
		object, _ := found.(map[string]any)
		if found = object[name]; found == nil {
			return nil, nil
		}
		if inner, ok := found.(map[string]any); ok {
			if ref, ok := inner["$ref"].(string); ok && strings.HasPrefix(ref, "#/") {
				return o.at(append(strings.Split(ref[2:], "/"), path[i+1:]...)...)
			}
		}
	}
	return found, path
}

// validate checks a value against the schema at a path.
func (o *openAPI) validate(value any, path []string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	pointer := ""
	for _, name := range path {
		pointer += "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
	}
	schema := o.schemas[pointer]
	if schema == nil {
		var err error
		if schema, err = o.compiler.Compile(openAPIName + "#" + strings.NewReplacer("{", "%7B", "}", "%7D").Replace(pointer)); err != nil {
			return err
		}
		o.schemas[pointer] = schema
	}
	return schema.Validate(value)
}

var pathParameter = regexp.MustCompile(`\{[^}]*\}`)

// pathOf finds the described path that a request goes to: the one with the
// fewest parameters.
func (o *openAPI) pathOf(req *http.Request) string {
	best, least := "", 10
	for path := range o.document["paths"].(map[string]any) {
		pattern := "^" + pathParameter.ReplaceAllString(path, "[^/]+") + "$"
		parameters := len(pathParameter.FindAllString(path, -1))
		if ok, _ := regexp.MatchString(pattern, req.URL.EscapedPath()); ok && parameters < least {
			best, least = path, parameters
		}
	}
	return best
}

var httpMethods = []string{"get", "put", "post", "delete", "patch"}

// TestOpenAPI wants every route in docs/openapi.yaml, nothing else, and no
// reference to nowhere.
func TestOpenAPI(t *testing.T) {
	o, err := description()
	if err != nil {
		t.Fatal(err)
	}
	if version := o.document["openapi"]; version != "3.1.0" {
		t.Errorf("it is OpenAPI %v", version)
	}
	var described, real, ids []string
	for path, item := range o.document["paths"].(map[string]any) {
		for method, operation := range item.(map[string]any) {
			if !slices.Contains(httpMethods, method) {
				continue
			}
			described = append(described, strings.ToUpper(method)+" "+pathParameter.ReplaceAllString(path, "{}"))
			id, _ := operation.(map[string]any)["operationId"].(string)
			if id == "" || slices.Contains(ids, id) {
				t.Errorf("%s %s: operationId %q is missing or there twice", method, path, id)
			}
			ids = append(ids, id)
			if found, _ := o.at("paths", path, method, "responses", "default", "content", "application/problem+json"); found == nil {
				t.Errorf("%s %s: no problem is described as the default response", method, path)
			}
		}
	}
	for pattern, methods := range admin.Endpoints() {
		for _, method := range methods {
			real = append(real, method+" "+pathParameter.ReplaceAllString(pattern, "{}"))
		}
	}
	for _, route := range real {
		if !slices.Contains(described, route) {
			t.Errorf("docs/openapi.yaml does not describe %s", route)
		}
	}
	for _, route := range described {
		if !slices.Contains(real, route) {
			t.Errorf("docs/openapi.yaml describes %s, which there is not", route)
		}
	}
	o.checkReferences(t, o.document)
}

func (o *openAPI) checkReferences(t *testing.T, node any) {
	t.Helper()
	switch node := node.(type) {
	case map[string]any:
		if ref, ok := node["$ref"].(string); ok {
			if found, _ := o.at(strings.Split(strings.TrimPrefix(ref, "#/"), "/")...); found == nil {
				t.Errorf("%s is nowhere in docs/openapi.yaml", ref)
			}
		}
		for _, inner := range node {
			o.checkReferences(t, inner)
		}
	case []any:
		for _, inner := range node {
			o.checkReferences(t, inner)
		}
	}
}

// checkDescribed wants a call of the admin API and its answer to be as
// docs/openapi.yaml says. All tests that ask the admin API come through here.
func checkDescribed(t *testing.T, req *http.Request, sent string, res *http.Response, body []byte) {
	t.Helper()
	o, err := description()
	if err != nil {
		t.Fatal(err)
	}
	path := o.pathOf(req)
	if path == "" || req.Method == http.MethodHead || res.StatusCode == http.StatusMethodNotAllowed {
		return
	}
	method := strings.ToLower(req.Method)
	if operation, _ := o.at("paths", path, method); operation == nil && res.StatusCode == http.StatusNotFound {
		return
	}
	wrong := func(what string, err error) {
		t.Errorf("%s %s: %s is not as docs/openapi.yaml says: %v\n%s", req.Method, req.URL, what, err, body)
	}
	status := strconv.Itoa(res.StatusCode)
	if found, _ := o.at("paths", path, method, "responses", status); found == nil {
		status = "default"
		if res.StatusCode < 400 {
			wrong("the status", errors.New(res.Status))
			return
		}
	}
	if res.StatusCode == http.StatusNotModified {
		return // it has no body
	}
	media, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	schema, at := o.at("paths", path, method, "responses", status, "content", media, "schema")
	if schema == nil {
		wrong("the answer", errors.New(media+" is not described"))
		return
	}
	if media == "application/json" || media == "application/problem+json" {
		if value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body)); err != nil {
			wrong("the answer", err)
		} else if err := o.validate(value, at); err != nil {
			wrong("the answer", err)
		}
	}
	schema, at = o.at("paths", path, method, "requestBody", "content", "application/json", "schema")
	if schema == nil || sent == "" || res.StatusCode >= 400 {
		return
	}
	if value, err := jsonschema.UnmarshalJSON(strings.NewReader(sent)); err != nil {
		wrong("what was sent", err)
	} else if err := o.validate(value, at); err != nil {
		wrong("what was sent", err)
	}
}
