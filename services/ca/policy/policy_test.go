package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"sigstack/internal/fault"
	"sigstack/services/ca/identity"
	"sigstack/services/ca/policy"
)

// payload holds a value of every kind. "hunter2" stands for what must not get out.
const payload = `{
	"iss": "https://ci.example", "sub": "repo:corp/app:ref:refs/heads/main",
	"repository": "corp/app", "ref": "refs/heads/main", "run_attempt": 2, "cost": 1.5, "big": 1e30,
	"admin": true, "none": null, "secret": "hunter2",
	"groups": ["release", "dev"], "realm": {"roles": ["signer"]}, "https://corp.example/team": "core"}`

func claims(t testing.TB, payload string) identity.Claims {
	t.Helper()
	c, err := identity.ParseClaims([]byte(payload))
	if err != nil {
		t.Fatalf("parse claims: %v", err)
	}
	return c
}

func rules(expressions ...string) (list []policy.Rule) {
	for i, e := range expressions {
		list = append(list, policy.Rule{Name: fmt.Sprintf("rule-%d", i+1), Expression: e, Message: "ask the release team"})
	}
	return list
}

func compiled(t testing.TB, expressions ...string) *policy.Policy {
	t.Helper()
	p, err := policy.Compile(rules(expressions...))
	if err != nil {
		t.Fatalf("compile %q: %v", expressions, err)
	}
	return p
}

func TestCheck(t *testing.T) {
	const refuses = "rule rule-1 of the issuer's policy refuses the token: ask the release team"
	failed := func(why string) string {
		return "rule rule-1 of the issuer's policy cannot be decided, because " + why + ": ask the release team"
	}
	tests := []struct {
		expression string
		want       string // sentence of the refusal, "" for none
	}{
		{`true`, ""},
		{`claims.repository == "corp/app"`, ""},
		{`claims.repository.startsWith("corp/") && claims.ref in ["refs/heads/main", "refs/heads/next"]`, ""},
		{`claims.ref.matches("^refs/(heads|tags)/[a-z0-9.]+$")`, ""},
		{`issuer == "https://ci.example" && subject == claims.sub`, ""},
		{`claims.run_attempt == 2 && claims.run_attempt < 3`, ""},
		{`claims.cost == 1.5 && claims.big > 1e29`, ""},
		{`claims.admin == true && claims.none == null`, ""},
		{`"release" in claims.groups && claims.groups.exists(g, g.startsWith("dev"))`, ""},
		{`claims.realm.roles == ["signer"]`, ""},
		{`claims["https://corp.example/team"] == "core"`, ""},
		{`!has(claims.environment) && !("environment" in claims)`, ""},
		{`has(claims.environment) ? claims.environment == "production" : true`, ""},
		{`claims.environment == "x" || true`, ""},

		{`false`, refuses},
		{`claims.repository == "corp/other"`, refuses},
		{`has(claims.environment)`, refuses},
		{`claims.groups.all(g, g == "release")`, refuses},
		{`claims.secret == "other"`, refuses},

		{`claims.environment == "production"`, failed("claim or member environment is missing")},
		{`claims.realm.scopes == []`, failed("claim or member scopes is missing")},
		{`claims["https://corp.example/none"] == "x"`, failed("claim or member https://corp.example/none is missing")},
		{`claims[claims.secret] == "x"`, failed("a claim or member is missing")},
		{`claims.repository > 3`, failed("a claim is of another type than the rule expects")},
		{`claims.repository.roles == "x"`, failed("claim or member roles is missing")},
		{`int(claims.secret) == 1`, failed("it fails for what a claim holds")},
		{`claims.ref.matches(claims.secret + "[")`, failed("it fails for what a claim holds")},
		{`claims.groups[7] == "x"`, failed("it fails for what a claim holds")},
		{nested(6), failed("it takes too long for this token")},
	}
	c := claims(t, payload)
	for _, tt := range tests {
		t.Run(tt.expression[:min(len(tt.expression), 60)], func(t *testing.T) {
			err := compiled(t, tt.expression).Check(c)
			if tt.want == "" {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			if err == nil || fault.KindOf(err) != fault.Invalid || fault.Public(err) != tt.want {
				t.Fatalf("got %v, kind %v\nwant %s", err, fault.KindOf(err), tt.want)
			}
			detail, _ := fault.DetailOf(err)
			if shown := err.Error() + fmt.Sprint(detail); strings.Contains(shown, "hunter2") {
				t.Errorf("the refusal shows a claim's value: %s", shown)
			}
			if detail.Reason != "POLICY_REFUSED" || detail.Metadata["rule"] != "rule-1" || detail.Metadata["message"] != "ask the release team" {
				t.Errorf("detail %+v, want the rule and its message", detail)
			}
		})
	}
}

// nested goes through a list of ten in a list of ten, and so on.
func nested(depth int) string {
	if depth == 0 {
		return "subject != ''"
	}
	return fmt.Sprintf("[0,1,2,3,4,5,6,7,8,9].all(x%d, %s)", depth, nested(depth-1))
}

func TestEveryRuleMustHold(t *testing.T) {
	p := compiled(t, `true`, `claims.admin == false`, `claims.nowhere == 1`, `claims.cost > 1.0`)
	c := claims(t, payload)
	err := p.Check(c)
	if d, _ := fault.DetailOf(err); d.Metadata["rule"] != "rule-2" {
		t.Errorf("Check: got %v, want a refusal by rule-2", err)
	}
	decisions, err := p.Decide(c)
	if err != nil {
		t.Fatalf("decide: %v", err)
	}
	want := []policy.Decision{
		{Rule: "rule-1", Holds: true},
		{Rule: "rule-2", Message: "ask the release team"},
		{Rule: "rule-3", Message: "ask the release team", Failed: "claim or member nowhere is missing"},
		{Rule: "rule-4", Holds: true},
	}
	if fmt.Sprint(decisions) != fmt.Sprint(want) {
		t.Errorf("Decide:\ngot  %+v\nwant %+v", decisions, want)
	}
}

func TestNoRulesRefuseNobody(t *testing.T) {
	if err := compiled(t).Check(claims(t, payload)); err != nil {
		t.Errorf("got %v, want no refusal", err)
	}
}

// TestDuplicatesInside: an object with a name twice has two meanings.
func TestDuplicatesInside(t *testing.T) {
	c := claims(t, `{"iss":"i","sub":"s","o":{"a":1,"a":2}}`)
	if err := compiled(t, `claims.o.a == 1`).Check(c); fault.KindOf(err) != fault.Invalid {
		t.Errorf("got %v, want fault.Invalid", err)
	}
}

func TestCompileRefuses(t *testing.T) {
	rule := func(change func(*policy.Rule)) policy.Rule {
		r := policy.Rule{Name: "only-main", Expression: `true`, Message: "sign from main"}
		change(&r)
		return r
	}
	expression := func(e string) policy.Rule { return rule(func(r *policy.Rule) { r.Expression = e }) }
	tests := []struct {
		name string
		rule policy.Rule
		want string
	}{
		{"no name", rule(func(r *policy.Rule) { r.Name = "" }), "rule number 2: name"},
		{"name", rule(func(r *policy.Rule) { r.Name = "Only Main" }), "rule number 2: name"},
		{"name twice", rule(func(r *policy.Rule) { r.Name = "first" }), "rule first: another rule has this name"},
		{"no message", rule(func(r *policy.Rule) { r.Message = " " }), "message is missing"},
		{"long message", rule(func(r *policy.Rule) { r.Message = strings.Repeat("m", 257) }), "message is not one line"},
		{"message of two lines", rule(func(r *policy.Rule) { r.Message = "a\nb" }), "message is not one line"},
		{"no expression", expression(""), "expression is missing"},
		{"syntax", expression(`claims.a ==`), "line 1, column 12"},
		{"unknown variable", expression(`true && token.sub == "x"`), "column 9: undeclared reference to 'token'"},
		{"two mistakes", expression(`token.sub == now()`), "; line 1, column"},
		{"unknown function", expression(`now() > 3`), "undeclared reference to 'now'"},
		{"sum", expression(`claims.ref + "x"`), "of type string, and must be bool"},
		{"constant string", expression(`issuer`), "of type string, and must be bool"},
		{"bare claim", expression(`claims.admin`), "compare it, such as claims.admin == true"},
		{"types", expression(`issuer == 3`), "no matching overload"},
		{"too long", expression(`true || "` + strings.Repeat("x", 2048) + `" == ""`), "size"},
		{"too deep", expression(strings.Repeat("(", 60) + "true" + strings.Repeat(")", 60)), "recursion"},
		{"too wide by macros", expression(nested(5) + strings.Repeat(" && "+nested(5), 40)), "limit"},
	}
	for _, part := range []string{"getHours", "getDayOfWeek", "getFullYear"} {
		tests = append(tests, struct {
			name string
			rule policy.Rule
			want string
		}{part, expression(`timestamp("2026-01-01T00:00:00Z").` + part + `(issuer) == 1`), "undeclared reference to '" + part + "'"})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := policy.Compile([]policy.Rule{{Name: "first", Expression: "true", Message: "m"}, tt.rule})
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want one line with %q", err, tt.want)
			}
		})
	}
	if _, err := policy.Compile(rules(strings.Split(strings.Repeat("true,", 33), ",")...)); err == nil {
		t.Error("34 rules: got no error")
	}
	_, err := policy.Compile(rules(`x == 1`, `true`, `y == 1`))
	for _, want := range []string{"rule rule-1: ", "rule rule-3: "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("two wrong rules: got %v, want both", err)
		}
	}
}

// FuzzCheck holds that whatever compiles decides by itself alone, the same each time,
// and that no refusal tells what a claim holds.
func FuzzCheck(f *testing.F) {
	for _, e := range []string{
		`claims.secret == "x"`, `claims[claims.secret] == 1`, `int(claims.secret) > 0`, nested(3), `duration(claims.secret) > duration("1s")`,
		`claims.groups.map(g, g + claims.secret).exists(x, x.size() > 99)`, `{claims.secret: 1}["a"] == 1`, `timestamp(claims.secret) < timestamp(0)`,
		`claims.secret.matches(claims.secret)`, `b"\xff" == bytes(claims.secret)`, `type(claims.secret) == int`,
	} {
		f.Add(e)
	}
	c := claims(f, strings.ReplaceAll(payload, "hunter2", "hunter2[("))
	f.Fuzz(func(t *testing.T, expression string) {
		if strings.Contains(expression, "hunter2") {
			return
		}
		p, err := policy.Compile(rules(expression))
		if err != nil {
			return
		}
		first, again := p.Check(c), p.Check(c)
		if (first == nil) != (again == nil) { // the reason may differ: maps have no order
			t.Fatalf("%q decides %v, then %v", expression, first, again)
		}
		decisions, err := p.Decide(c)
		if err != nil || len(decisions) != 1 || decisions[0].Holds != (first == nil) {
			t.Fatalf("%q: Check says %v, Decide %+v, %v", expression, first, decisions, err)
		}
		if first == nil {
			return
		}
		detail, ok := fault.DetailOf(first)
		if !ok || fault.KindOf(first) != fault.Invalid {
			t.Fatalf("%q: refused with %v, want fault.Invalid with a cause", expression, first)
		}
		if shown := first.Error() + fmt.Sprint(detail); strings.Contains(shown, "hunter2") {
			t.Fatalf("%q: the refusal tells a claim's value: %s", expression, shown)
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	p := compiled(b,
		`claims.repository.startsWith("corp/") && claims.ref in ["refs/heads/main", "refs/heads/next"]`,
		`"release" in claims.groups`,
		`claims.ref.matches("^refs/(heads|tags)/[a-z0-9.]+$")`)
	c := claims(b, payload)
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Check(c); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCheckAtLimit is the most that a rule can cost before it refuses.
func BenchmarkCheckAtLimit(b *testing.B) {
	p := compiled(b, nested(6))
	c := claims(b, payload)
	for b.Loop() {
		if p.Check(c) == nil {
			b.Fatal("not refused")
		}
	}
}

// BenchmarkCompile is what a start and a reload spend on an issuer with one rule.
func BenchmarkCompile(b *testing.B) {
	r := rules(`claims.ref.matches("^refs/(heads|tags)/[a-z0-9.]+$")`)
	for b.Loop() {
		if _, err := policy.Compile(r); err != nil {
			b.Fatal(err)
		}
	}
}
