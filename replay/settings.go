package replay

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/routing"
)

// Set changes one setting, written as in a Caddyfile but in one line:
//
//	workers=48
//	max_open_zones=50
//	zone.timeout=1s            of all zones that have none of their own
//	zone.z7.max_inflight=20%
//	store.max_hung=3
func Set(app *config.App, change string) error {
	name, value, ok := strings.Cut(change, "=")
	if !ok || name == "" || value == "" {
		return fmt.Errorf("%q is no setting: write NAME=VALUE, for example zone.timeout=1s, zone.z7.max_inflight=20%%, store.max_hung=3 or workers=48", change)
	}
	block, option, _ := strings.Cut(name, ".")
	var err error
	switch {
	case option == "" && !strings.HasSuffix(name, "."):
		err = set(app, block, value, "", appBlocks)
	case block == "zone":
		zone := config.AllZones
		if i := strings.LastIndexByte(option, '.'); i >= 0 {
			zone, option = option[:i], option[i+1:]
		}
		if err = config.CheckZoneName(zone); err != nil && zone != config.AllZones {
			return fmt.Errorf("%s: %w", name, err)
		}
		err = set(zoneOf(app, zone), option, value, strings.TrimSuffix(name, option), zoneBlocks)
	case block == "store":
		err = set(&app.Store, option, value, "store.", nil)
	default:
		err = set(app, name, value, "", appBlocks)
	}
	if err != nil {
		return fmt.Errorf("setting %s: %w", name, err)
	}
	return nil
}

// Names are the settings that Set knows, those of all zones, in order.
func Names() []string {
	names := fieldNames(reflect.TypeFor[config.App](), "", appBlocks)
	names = append(names, fieldNames(reflect.TypeFor[config.Zone](), "zone.", zoneBlocks)...)
	return append(names, fieldNames(reflect.TypeFor[config.Store](), "store.", nil)...)
}

// What cannot be set in one line.
var (
	appBlocks  = []string{"zones", "store", "servers", "server_check"}
	zoneBlocks = []string{"name", "check"}
)

func fieldName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

func fieldNames(t reflect.Type, prefix string, without []string) (names []string) {
	for i := range t.NumField() {
		if name := fieldName(t.Field(i)); name != "" && !slices.Contains(without, name) {
			names = append(names, prefix+name)
		}
	}
	return names
}

// zoneOf is the settings of a zone, added if there are none.
func zoneOf(app *config.App, name string) *config.Zone {
	i := slices.IndexFunc(app.Zones, func(z config.Zone) bool { return z.Name == name })
	if i < 0 {
		i = len(app.Zones)
		app.Zones = append(app.Zones, config.Zone{Name: name})
	}
	return &app.Zones[i]
}

// set sets the field of a struct that has this name in JSON, if it is not
// among those left out.
func set(block any, option, value, prefix string, without []string) error {
	v := reflect.ValueOf(block).Elem()
	for i := range v.NumField() {
		if name := fieldName(v.Type().Field(i)); name == option && !slices.Contains(without, name) {
			return setField(v.Field(i), value)
		}
	}
	known := fieldNames(v.Type(), prefix, without)
	if prefix == "" {
		known = Names() // perhaps the block was forgotten
	}
	slices.Sort(known)
	near := routing.Nearest(prefix+option, known)
	for _, name := range known {
		if near == "" && strings.HasSuffix(name, "."+option) {
			near = name
		}
	}
	if near != "" {
		near = ", did you mean " + near + "?"
	}
	return fmt.Errorf("there is no such setting%s (there are: %s)", near, strings.Join(known, ", "))
}

// setField reads the value as the field's type wants it.
func setField(field reflect.Value, value string) error {
	target := reflect.New(field.Type())
	text := strconv.Quote(value)
	kind := field.Type()
	for kind.Kind() == reflect.Pointer {
		kind = kind.Elem()
	}
	if _, custom := reflect.New(kind).Interface().(json.Unmarshaler); !custom {
		switch kind.Kind() {
		case reflect.Int, reflect.Float64:
			text = strings.TrimSuffix(value, "%")
		case reflect.Slice:
			text = "[" + strings.Join(strings.FieldsFunc(value, func(r rune) bool { return r == ' ' || r == ',' }), ",") + "]"
		default:
		}
	}
	if err := json.Unmarshal([]byte(text), target.Interface()); err != nil {
		var syntax *json.SyntaxError
		var kindErr *json.UnmarshalTypeError
		if errors.As(err, &syntax) || errors.As(err, &kindErr) {
			return fmt.Errorf("%q is no %s", value, kindWords(kind))
		}
		return err
	}
	field.Set(target.Elem())
	return nil
}

func kindWords(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Int:
		return "whole number"
	case reflect.Float64:
		return "share in percent"
	case reflect.Slice:
		return "list of HTTP statuses like 500,503"
	default:
		return "value for it"
	}
}
