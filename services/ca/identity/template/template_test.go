package template_test

import (
	"strings"
	"testing"
	texttemplate "text/template"

	"sigstack/internal/fault"
	"sigstack/services/ca/identity/template"
)

// lookup finds claims in a map; one whose text is "!" is refused.
func lookup(claims map[string]string) template.Lookup {
	return func(name string) (string, bool, error) {
		text, ok := claims[name]
		if text == "!" {
			return "", false, fault.Newf(fault.Invalid, "claim %s is odd", name)
		}
		return text, ok, nil
	}
}

func claims() map[string]string {
	return map[string]string{
		"url": "https://ci.example.com", "repo": "acme/app", "ref": "main", "kind": "branch", "empty": "", "markup": `<a b="&'">`,
		"a.b/c": "dotted", "long": strings.Repeat("x", 4000), "odd": "!",
		"signs": strings.Repeat("&", 2000),
	}
}

func TestApply(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"name of one claim", "repo", "acme/app"},
		{"empty claim", "empty", ""},
		{"name with dots", "a.b/c", "dotted"},
		{"text around", "{{ .url }}/{{ .repo }}/runs/{{.ref}}", "https://ci.example.com/acme/app/runs/main"},
		{"nothing is escaped", "{{.markup}}", `<a b="&'">`},
		{"index", `{{index . "a.b/c"}}{{(index $ "a.b/c")}}`, "dotteddotted"},
		{"index of nothing", `[{{index . "nowhere"}}]`, "[]"},
		{"root", "{{$.repo}}", "acme/app"},
		{"condition met", `refs/{{if eq .kind "branch"}}heads/{{else}}tags/{{end}}{{.ref}}`, "refs/heads/main"},
		{"condition not met", `refs/{{if eq .kind "tag"}}tags/{{else}}heads/{{end}}{{.ref}}`, "refs/heads/main"},
		{"condition of an empty claim", `{{if .empty}}a{{else if .ref}}b{{end}}`, "b"},
		{"claim of a branch not taken", `{{if .empty}}{{.nowhere}}{{end}}x`, "x"},
		{"with", `{{with .ref}}{{.}} of {{$.repo}}{{end}}`, "main of acme/app"},
		{"with, index and else", `{{with index . "nowhere"}}{{.}}{{else}}{{.ref}}{{end}}`, "main"},
		{"variable", `{{$x := .ref}}{{$x}}`, "main"},
		{"functions", `{{and .ref .repo}} {{or .empty .ref}} {{not .empty}} {{len .ref}} {{slice .ref 1 3}} {{ne .ref "x"}} {{lt 1 2}} {{le 1 2}} {{gt 1 2}} {{ge 1 2}}`, "acme/app main true 4 ai true true true false false"},
		{"urlquery", `{{urlquery .repo}} {{.markup | urlquery}}`, "acme%2Fapp %3Ca+b%3D%22%26%27%22%3E"},
		{"trimmed", "{{- .ref -}}  \n x", "mainx"},
		{"comment", "{{/* why */}}{{.ref}}", "main"},
		{"longest", "{{.long}}" + strings.Repeat("y", 96), strings.Repeat("x", 4000) + strings.Repeat("y", 96)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			compiled, err := template.Compile(tt.text, false)
			if err != nil {
				t.Fatal(err)
			}
			got, err := compiled.Apply(lookup(claims()))
			if err != nil || got != tt.want {
				t.Errorf("result = %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

func TestApplyRefuses(t *testing.T) {
	tests := []struct {
		name, text string
		strict     bool
		want       string
	}{
		{"no such claim", "nowhere", false, "claim nowhere is missing"},
		{"no such claim in a template", "{{.url}}/{{.nowhere}}", false, "claim nowhere is missing"},
		{"two missing", "{{.nowhere}}{{.elsewhere}}", false, "claim elsewhere or nowhere is missing"},
		{"no such claim of the root", "{{$.nowhere}}", false, "claim nowhere is missing"},
		{"index, strict", `{{index . "nowhere"}}`, true, "claim nowhere is missing"},
		{"odd claim", "odd", false, "claim odd is odd"},
		{"odd claim in a template", "{{.odd}}", false, "claim odd is odd"},
		{"too long", "{{.long}}{{.url}}{{.long}}", false, "result is over 4096 bytes"},
		{"too long by a function", "{{.long | urlquery | urlquery}}" + strings.Repeat("x", 97), false, "result is over 4096 bytes"},
		{"function grows", "{{len (urlquery .signs)}}", false, "result is over 4096 bytes"},
		{"kinds", `{{if eq .ref 1}}x{{end}}`, false, "does not fit the claims"},
		{"slice beyond", `{{slice .ref 3 9}}`, false, "does not fit the claims"},
		{"text as a function", `{{.ref .url}}`, false, "does not fit the claims"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			compiled, err := template.Compile(tt.text, tt.strict)
			if err != nil {
				t.Fatal(err)
			}
			got, err := compiled.Apply(lookup(claims()))
			if fault.KindOf(err) != fault.Invalid || fault.Public(err) != tt.want && !strings.Contains(fault.Public(err), tt.want) {
				t.Errorf("result = %q, error = %v, want an invalid one with %q", got, err, tt.want)
			}
			for _, value := range claims() {
				if len(value) > 3 && strings.Contains(fault.Public(err), value) {
					t.Errorf("public sentence %q repeats a claim", fault.Public(err))
				}
			}
		})
	}
}

func TestCompileRefuses(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"empty", "", "template is empty"},
		{"blank", " \n", "template is empty"},
		{"too long", strings.Repeat("x", 4097), "template is over 4096 bytes"},
		{"empty action", "{{}}", "parse template"},
		{"not closed", "{{.a", "parse template"},
		{"unknown function", "{{env .a}}", "parse template"},
		{"no end", "{{if .a}}", "parse template"},
		{"range", "{{range .a}}{{end}}", "if, else and with only"},
		{"range over a number", "{{range 1000000000}}{{end}}", "if, else and with only"},
		{"range in a branch", "{{if .a}}x{{else}}{{range .a}}{{end}}{{end}}", "if, else and with only"},
		{"range in with", "{{with .a}}{{range .}}{{end}}{{end}}", "if, else and with only"},
		{"break", "{{range .a}}{{break}}{{end}}", "if, else and with only"},
		{"define", `{{define "a"}}{{end}}{{.a}}`, "may not define others"},
		{"block", `{{block "a" .}}{{end}}`, "may not define others"},
		{"recursion", `{{define "a"}}{{template "a"}}{{end}}{{template "a"}}`, "may not define others"},
		{"template", `{{template "a"}}`, "if, else and with only"},
		{"printf", `{{printf "%1000000d" 1}}`, "may not call printf"},
		{"print", `{{print .a .a}}`, "may not call print"},
		{"println", `{{println .a}}`, "may not call println"},
		{"html", `{{html .a}}`, "may not call html"},
		{"js", `{{.a | js}}`, "may not call js"},
		{"call", `{{call .a}}`, "may not call call"},
		{"function in parentheses", `{{if (eq (print .a) "x")}}{{end}}`, "may not call print"},
		{"function as an argument", `{{and .a (js .a)}}`, "may not call js"},
		{"all claims", "{{.}}", "stands for all claims"},
		{"all claims by the root", "{{$}}", "stands for all claims"},
		{"all claims as an operand", "{{and 1 .}}", "stands for all claims"},
		{"all claims in a comparison", `{{if eq . ""}}foo{{end}}`, "stands for all claims"},
		{"all claims in with", "{{with .}}{{.}}{{end}}", "stands for all claims"},
		{"all claims in a variable", "{{$x := .}}{{$x}}", "stands for all claims"},
		{"all claims in the else of with", "{{with .a}}{{else}}{{.}}{{end}}", "stands for all claims"},
		{"index without a name", "{{index .}}", "index takes"},
		{"index by a claim", "{{index . .a}}", "index takes"},
		{"index of a claim", `{{index .a "b"}}`, "index takes"},
		{"index of the dot in with", `{{with .a}}{{index . "b"}}{{end}}`, "index takes"},
		{"two indexes", `{{index . "a" "b"}}`, "index takes"},
		{"claim in with", "{{with .a}}{{.b}}{{end}}", "within with, claims are $.b"},
		{"part of a claim", "{{.a.b}}", "have no parts"},
		{"part of a claim by the root", "{{$.a.b}}", "have no parts"},
		{"part of a variable", "{{$x := .a}}{{$x.b}}", "have no parts"},
		{"part of a result", `{{(index . "a").b}}`, "may not use this"},
		{"nil", "{{and nil .a}}", "may not use this"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := template.Compile(tt.text, false); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want one with %q", err, tt.want)
			}
		})
	}
}

// FuzzTemplate: what compiles is bounded, refused as the token's fault if at all,
// and gives what the whole of text/template gives.
func FuzzTemplate(f *testing.F) {
	for _, text := range []string{
		"repo", "{{.url}}/{{.repo}}", `{{index . "a.b/c"}}`, `{{if eq .kind "branch"}}a{{else}}b{{end}}`, "{{with .ref}}{{.}}{{$.repo}}{{end}}",
		"{{slice .long 1}}{{len .long}}", "{{urlquery .repo}}", "{{$x := and .a .b}}{{$x}}", "{{- .ref -}} x", "{{/* c */}}", "{{not (or .empty .ref)}}",
		"{{.nowhere}}", "{{range .a}}{{end}}", "{{print . .}}", "{{1}}{{\"x\"}}{{true}}",
	} {
		f.Add(text, "main", "")
	}
	f.Fuzz(func(t *testing.T, text, ref, other string) {
		all := claims()
		all["ref"], all["a"], all["b"] = ref, other, ref+other
		delete(all, "odd")
		compiled, err := template.Compile(text, false)
		if err != nil {
			return
		}
		got, err := compiled.Apply(lookup(all))
		if err != nil {
			if fault.KindOf(err) != fault.Invalid {
				t.Fatalf("Apply(%q): %v is not invalid", text, err)
			}
			return
		}
		if !strings.Contains(text, "{{") {
			if got != all[text] {
				t.Fatalf("Apply(%q) = %q, want %q", text, got, all[text])
			}
			return
		}
		if len(got) > template.MaxResult {
			t.Fatalf("Apply(%q) gave %d bytes", text, len(got))
		}
		var want strings.Builder
		parsed := texttemplate.Must(texttemplate.New("").Option("missingkey=error").Parse(text))
		if err := parsed.Execute(&want, all); err != nil || got != want.String() {
			t.Fatalf("Apply(%q) = %q, want %q, %v", text, got, want.String(), err)
		}
	})
}
