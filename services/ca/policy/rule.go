package policy

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	celenv "github.com/google/cel-go/common/env"
	"github.com/google/cel-go/common/types"
)

const (
	maxExpression = 2048 // characters
	maxNodes      = 2000 // of an expression with its macros expanded
	maxDepth      = 50   // of an expression's parentheses and operators
	maxMessage    = 256  // bytes

	// maxCost ends an evaluation, in CEL's units: about one for each step, and a
	// tenth of one for each byte of text that is gone through. Ordinary rules cost
	// below a hundred. A deadline would end it as well, but refuse good tokens when
	// the machine is busy; this is the same everywhere.
	maxCost = 100_000
)

var validName = regexp.MustCompile(`\A[a-z0-9][a-z0-9-]{0,63}\z`)

// environment is what expressions are made of.
func environment() (*cel.Env, error) {
	var excluded []*celenv.Function
	for _, name := range timestampParts() {
		excluded = append(excluded, celenv.NewFunction(name))
	}
	env, err := cel.NewCustomEnv(
		cel.StdLib(cel.StdLibSubset(&celenv.LibrarySubset{ExcludeFunctions: excluded})),
		cel.ParserExpressionSizeLimit(maxExpression),
		cel.ExpressionNodeLimit(maxNodes),
		cel.ParserRecursionLimit(maxDepth),
		cel.Variable("claims", cel.MapType(cel.StringType, cel.DynType)),
		cel.Variable("issuer", cel.StringType),
		cel.Variable("subject", cel.StringType),
	)
	if err != nil {
		return nil, fmt.Errorf("make policy environment: %w", err)
	}
	return env, nil
}

// timestampParts are the functions that take a time zone by its name, and so look
// for its file.
func timestampParts() []string {
	return []string{
		"getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getFullYear",
		"getHours", "getMilliseconds", "getMinutes", "getMonth", "getSeconds",
	}
}

// rule is a compiled Rule.
type rule struct {
	Rule
	program cel.Program
	names   map[string]bool // claims and members that the expression itself names
}

func compile(env *cel.Env, r Rule) (rule, error) {
	switch {
	case !validName.MatchString(r.Name):
		return rule{}, fmt.Errorf("name %q is not of lower-case letters, digits and hyphens, at most 64", r.Name)
	case strings.TrimSpace(r.Message) == "":
		return rule{}, errors.New("message is missing: it tells who is refused what to do")
	case len(r.Message) > maxMessage || strings.ContainsFunc(r.Message, notPrintable):
		return rule{}, fmt.Errorf("message is not one line of at most %d bytes", maxMessage)
	case strings.TrimSpace(r.Expression) == "":
		return rule{}, errors.New("expression is missing")
	}
	tree, issues := env.Compile(r.Expression)
	if issues.Err() != nil {
		return rule{}, explain(issues)
	}
	switch t := tree.OutputType(); {
	case t.IsExactType(cel.DynType):
		return rule{}, errors.New("expression is of no certain type: compare it, such as claims.admin == true")
	case !t.IsExactType(cel.BoolType):
		return rule{}, fmt.Errorf("expression is of type %s, and must be bool", t)
	}
	program, err := env.Program(tree, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(maxCost))
	if err != nil {
		return rule{}, fmt.Errorf("plan expression: %w", err)
	}
	return rule{r, program, named(tree)}, nil
}

func notPrintable(r rune) bool { return r == unicode.ReplacementChar || !unicode.IsPrint(r) }

// explain says in one line what CEL complains about, without its picture of the
// expression.
func explain(issues *cel.Issues) error {
	var all []string
	for _, e := range issues.Errors() {
		message := strings.ReplaceAll(strings.ReplaceAll(e.Message, " (in container '')", ""), "\n", " ")
		all = append(all, fmt.Sprintf("line %d, column %d: %s", e.Location.Line(), e.Location.Column()+1, message))
	}
	return errors.New("expression, " + strings.Join(all, "; "))
}

// named collects the texts and members that an expression itself has.
func named(tree *cel.Ast) map[string]bool {
	names := map[string]bool{}
	ast.PreOrderVisit(tree.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.SelectKind:
			names[e.AsSelect().FieldName()] = true
		case ast.LiteralKind:
			if text, ok := e.AsLiteral().(types.String); ok {
				names[string(text)] = true
			}
		}
	}))
	return names
}

// decide evaluates the rule. What cannot be evaluated does not hold.
func (r rule) decide(vars map[string]any) Decision {
	result, _, err := r.program.Eval(vars)
	switch {
	case err != nil:
		return Decision{Rule: r.Name, Message: r.Message, Failed: r.failure(err)}
	case result != types.True:
		return Decision{Rule: r.Name, Message: r.Message}
	}
	return Decision{Rule: r.Name, Holds: true}
}

// failure words why an evaluation failed. CEL's own words can hold what a claim
// holds, such as a key that is not there or a number that is none; of them only
// names that are in the expression, too, get out.
func (r rule) failure(err error) string {
	text := err.Error()
	key, missing := strings.CutPrefix(text, "no such key: ")
	switch {
	case missing && r.names[key]:
		return "claim or member " + key + " is missing"
	case missing:
		return "a claim or member is missing"
	case strings.Contains(text, "cost limit exceeded"):
		return "it takes too long for this token"
	case strings.HasPrefix(text, "no such overload"):
		return "a claim is of another type than the rule expects"
	default:
		return "it fails for what a claim holds"
	}
}
