package handlers_test

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/events"
)

// sortedTexts returns names as sorted texts.
func sortedTexts[S ~string](names ...S) []string {
	var all []string
	for _, name := range names {
		all = append(all, string(name))
	}
	slices.Sort(all)
	return all
}

// sortedNames returns the sorted names of values that have a String method.
func sortedNames[S interface{ String() string }](values []S) []string {
	var all []string
	for _, value := range values {
		all = append(all, value.String())
	}
	slices.Sort(all)
	return all
}

// openAPINames reads the names in openapi.json.
type openAPINames struct {
	wakeReasons, resetReasons, closingReasons, events, userKinds []string
	// of each schema that has an xType
	xTypes   [][]string
	outcomes []string // of a delivery
}

func readOpenAPINames(t *testing.T) (names openAPINames) {
	t.Helper()
	b, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	type schema struct {
		Enum       []any             `json:"enum"`
		Const      string            `json:"const"`
		Properties map[string]schema `json:"properties"`
		OneOf      []struct {
			Ref string `json:"$ref"`
		} `json:"oneOf"`
	}
	var doc struct {
		Components struct {
			Schemas map[string]schema `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	enum := func(s schema) []string {
		var all []string
		for _, value := range s.Enum {
			text, _ := value.(string)
			all = append(all, text)
		}
		slices.Sort(all)
		return all
	}
	schemas := doc.Components.Schemas
	names.wakeReasons = enum(schemas["WakeReason"])
	names.userKinds = enum(schemas["UserKind"])
	names.resetReasons = enum(schemas["ResetReason"])
	names.closingReasons = enum(schemas["StreamClosing"].Properties["data"].Properties["reason"])
	for _, one := range schemas["Event"].OneOf {
		name := strings.TrimPrefix(one.Ref, "#/components/schemas/")
		names.events = append(names.events, schemas[name].Properties["event"].Const)
	}
	slices.Sort(names.events)
	var whole any
	if err := json.Unmarshal(b, &whole); err != nil {
		t.Fatal(err)
	}
	var walk func(name string, value any)
	walk = func(name string, value any) {
		switch value := value.(type) {
		case []any:
			for _, v := range value {
				walk("", v)
			}
		case map[string]any:
			if all, ok := value["enum"].([]any); ok &&
				(name == "xType" || name == "outcome" && slices.Contains(all, any("wake"))) {
				var list []string
				for _, v := range all {
					text, _ := v.(string)
					list = append(list, text)
				}
				slices.Sort(list)
				if name == "xType" {
					names.xTypes = append(names.xTypes, list)
				} else {
					names.outcomes = list
				}
			}
			for key, v := range value {
				walk(key, v)
			}
		}
	}
	walk("", whole)
	return names
}

// quotedNames returns the sorted names that match in what lies between two marks of a text.
func quotedNames(t *testing.T, file, from, to, name string) []string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, part, ok := strings.Cut(string(b), from)
	part, _, end := strings.Cut(part, to)
	if !ok || !end {
		t.Fatalf("got no %q … %q in %s", from, to, file)
	}
	var all []string
	for _, m := range regexp.MustCompile(name).FindAllStringSubmatch(part, -1) {
		all = append(all, m[1])
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// The names in events/names.go are those of the console, openapi.json, the pages and the database.
func TestTheContractHasTheNames(t *testing.T) {
	t.Parallel()
	const (
		key    = `(?m)^  (\w+): ` // of an object in JavaScript
		schema = "../migrations/schema.sql"
	)
	contract := readOpenAPINames(t)
	allEvents := sortedTexts(slices.Concat(events.StreamNames, events.EventNames, events.SignalNames)...)
	cells := func(from string) []string {
		var all []string
		for _, cell := range quotedNames(t, "docs/stream.md", from, "\n\n", "(?m)^\\| ([^|]*) \\|") {
			for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
				all = append(all, m[1])
			}
		}
		slices.Sort(all)
		return all
	}
	for _, tt := range []struct {
		name      string
		want, got []string
	}{
		{
			"x-types of the database", sortedTexts(events.XTypes...),
			quotedNames(t, schema, "CHECK ((x_type = ANY (ARRAY[", "]", `'(\w+)'`),
		},
		{
			"kinds of users of the database", sortedTexts(events.UserKinds...),
			quotedNames(t, schema, "CHECK ((kind = ANY (ARRAY[", "]", `'(\w+)'`),
		},
		{"kinds of users of openapi.json", sortedTexts(events.UserKinds...), contract.userKinds},
		{
			"x-types of the console", sortedTexts(events.XTypes...),
			quotedNames(t, "console/page/details.js", "export const kinds = {", "}", key),
		},
		{"events of openapi.json", allEvents, contract.events},
		{"events of the page", allEvents, cells("| event | meaning |\n| --- | --- |\n")},
		{
			"events of the console", allEvents,
			quotedNames(t, "console/page/stream.js", "const names = [", "]", `'(\S+)'`),
		},
		{"closing reasons of openapi.json", sortedTexts(events.ClosingReasons...), contract.closingReasons},
		{
			"closing reasons of the page", sortedTexts(events.ClosingReasons...),
			cells("| reason | what to do |\n| --- | --- |\n"),
		},
		{"reset reasons of openapi.json", sortedTexts(events.ResetReasons...), contract.resetReasons},
		{
			"reset reasons of the page", sortedTexts(events.ResetReasons...),
			cells("| reason | cause |\n| --- | --- |\n"),
		},
		{
			"reset reasons of the console", sortedTexts(events.ResetReasons...),
			quotedNames(t, "console/page/panel.js", "const resets = {", "}", key),
		},
		{"wake reasons of openapi.json", sortedNames(events.WakeReasons), contract.wakeReasons},
		{
			"wake reasons of the console", sortedNames(events.WakeReasons),
			quotedNames(t, "console/page/deliveries.js", "const means = {", "}", key),
		},
		{"outcomes of openapi.json", sortedNames(events.Outcomes[:]), contract.outcomes},
		{
			"outcomes of the console", sortedNames(events.Outcomes[:]),
			quotedNames(t, "console/page/deliveries.js", "const did = {", "}", `(\w+): `),
		},
	} {
		if diff := cmp.Diff(tt.want, tt.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
	if len(contract.xTypes) == 0 {
		t.Error("got no xType in openapi.json")
	}
	for _, got := range contract.xTypes {
		if diff := cmp.Diff(sortedTexts(events.XTypes...), got); diff != "" {
			t.Errorf("x-types of openapi.json (-want +got):\n%s", diff)
		}
	}
}
