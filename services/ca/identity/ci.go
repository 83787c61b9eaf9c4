package identity

import (
	"net/url"
	"path"
	"strconv"
	"strings"

	"sigstack/internal/fault"
	"sigstack/internal/pki"
)

// ciClaim is one claim of a CI system's tokens.
type ciClaim struct {
	name     string
	kind     claimKind
	optional bool
}

// claimKind says what a claim may look like.
type claimKind uint8

const (
	plain   claimKind = iota // any text
	inPath                   // becomes segments of a URL's path
	segment                  // becomes exactly one
)

// ciRun holds a token's claims by name; an optional one that is not there is "".
type ciRun map[string]string

func readRun(c Claims, claims []ciClaim) (ciRun, error) {
	run := make(ciRun, len(claims))
	for _, claim := range claims {
		text, err := c.optionalText(claim.name)
		if err == nil && text == "" && !claim.optional {
			err = missing(claim.name)
		}
		if err == nil && text != "" {
			err = claim.checkPath(text)
		}
		if err != nil {
			return nil, err
		}
		run[claim.name] = text
	}
	return run, nil
}

// checkPath refuses text that would let a URL point at something else than the
// claim names, such as another repository by way of "..".
func (c ciClaim) checkPath(text string) error {
	unclean := c.kind != plain && path.Clean("/"+text) != "/"+text
	if unclean || c.kind == segment && strings.Contains(text, "/") {
		return fault.Newf(fault.Invalid, "claim %s is not a clean path", c.name)
	}
	return nil
}

// under returns the URL of a path below base. The parts are checked ones.
func under(base url.URL, parts ...string) string {
	base.Path, base.RawPath = "/"+strings.TrimPrefix(path.Join(append([]string{base.Path}, parts...)...), "/"), ""
	return base.String()
}

func https(host string) url.URL { return url.URL{Scheme: "https", Host: host} }

// githubPrincipal names a GitHub Actions run by the workflow file and ref that
// define the job (contract: ca.md §5 and §6). The type knows github.com only, and
// leaves the deployment environment to ci-provider, as upstream's does.
func githubPrincipal(_ Issuer, c Claims) (Principal, error) {
	run, err := readRun(c, []ciClaim{
		{name: "event_name"},
		{name: "sha"},
		{name: "workflow"},
		{name: "ref"},
		{name: "repository", kind: inPath},
		{name: "repository_id"},
		{name: "repository_owner", kind: inPath},
		{name: "repository_owner_id"},
		{name: "repository_visibility"},
		{name: "job_workflow_ref", kind: inPath},
		{name: "job_workflow_sha"},
		{name: "workflow_ref", kind: inPath},
		{name: "workflow_sha"},
		{name: "runner_environment"},
		{name: "run_id", kind: segment},
		{name: "run_attempt", kind: segment},
	})
	if err != nil {
		return Principal{}, err
	}
	uri := func(parts ...string) string { return under(https("github.com"), parts...) }
	return Principal{
		Name:       Name{URIName, uri(run["job_workflow_ref"])},
		Challenges: []string{c.Subject},
		Attributes: []Attribute{
			{pki.OIDWorkflowTrigger, run["event_name"]},
			{pki.OIDWorkflowSHA, run["sha"]},
			{pki.OIDWorkflowName, run["workflow"]},
			{pki.OIDWorkflowRepository, run["repository"]},
			{pki.OIDWorkflowRef, run["ref"]},
			{pki.OIDBuildSignerURI, uri(run["job_workflow_ref"])},
			{pki.OIDBuildSignerDigest, run["job_workflow_sha"]},
			{pki.OIDRunnerEnvironment, run["runner_environment"]},
			{pki.OIDSourceRepositoryURI, uri(run["repository"])},
			{pki.OIDSourceRepositoryDigest, run["sha"]},
			{pki.OIDSourceRepositoryRef, run["ref"]},
			{pki.OIDSourceRepositoryID, run["repository_id"]},
			{pki.OIDSourceRepositoryOwner, uri(run["repository_owner"])},
			{pki.OIDSourceRepositoryOwnerID, run["repository_owner_id"]},
			{pki.OIDBuildConfigURI, uri(run["workflow_ref"])},
			{pki.OIDBuildConfigDigest, run["workflow_sha"]},
			{pki.OIDBuildTrigger, run["event_name"]},
			{pki.OIDRunInvocationURI, uri(run["repository"], "actions/runs", run["run_id"], "attempts", run["run_attempt"])},
			{pki.OIDRepositoryVisibility, run["repository_visibility"]},
		},
	}, nil
}

// gitlabPrincipal names a GitLab job by the pipeline definition and its ref
// (contract: ca.md §5 and §6). The type knows gitlab.com only, and
// leaves the deployment environment to ci-provider, as upstream's does.
func gitlabPrincipal(_ Issuer, c Claims) (Principal, error) {
	run, err := readRun(c, []ciClaim{
		{name: "project_path", kind: inPath},
		{name: "project_id"},
		{name: "project_visibility", optional: true},
		{name: "namespace_path", kind: inPath},
		{name: "namespace_id"},
		{name: "pipeline_source"},
		{name: "pipeline_id"},
		{name: "job_id", kind: segment},
		{name: "ci_config_ref_uri"},
		{name: "ci_config_sha", optional: true},
		{name: "ref"},
		{name: "ref_type"},
		{name: "sha"},
		{name: "runner_environment"},
	})
	if err != nil {
		return Principal{}, err
	}
	if err := checkRunnerID(c); err != nil {
		return Principal{}, err
	}
	ref, err := gitlabRef(run)
	if err != nil {
		return Principal{}, err
	}
	// The claim is a URL without its scheme, and its path has an empty segment.
	config, err := url.Parse("https://" + run["ci_config_ref_uri"])
	if err != nil {
		return Principal{}, fault.Wrap(fault.Invalid, err, "claim ci_config_ref_uri is not a URL without scheme")
	}
	uri := func(parts ...string) string { return under(https("gitlab.com"), parts...) }
	return Principal{
		Name:       Name{URIName, config.String()},
		Challenges: []string{c.Subject},
		Attributes: []Attribute{
			{pki.OIDBuildSignerURI, config.String()},
			{pki.OIDBuildSignerDigest, run["ci_config_sha"]},
			{pki.OIDRunnerEnvironment, run["runner_environment"]},
			{pki.OIDSourceRepositoryURI, uri(run["project_path"])},
			{pki.OIDSourceRepositoryDigest, run["sha"]},
			{pki.OIDSourceRepositoryRef, ref},
			{pki.OIDSourceRepositoryID, run["project_id"]},
			{pki.OIDSourceRepositoryOwner, uri(run["namespace_path"])},
			{pki.OIDSourceRepositoryOwnerID, run["namespace_id"]},
			{pki.OIDBuildConfigURI, config.String()},
			{pki.OIDBuildConfigDigest, run["ci_config_sha"]},
			{pki.OIDBuildTrigger, run["pipeline_source"]},
			{pki.OIDRunInvocationURI, uri(run["project_path"], "-/jobs", run["job_id"])},
			{pki.OIDRepositoryVisibility, run["project_visibility"]},
		},
	}, nil
}

// checkRunnerID demands a number but zero: a job without a runner did not run.
func checkRunnerID(c Claims) error {
	if id, err := strconv.ParseInt(string(c.members["runner_id"]), 10, 64); err != nil || id == 0 {
		return fault.New(fault.Invalid, "claim runner_id is missing, zero or not a whole number")
	}
	return nil
}

// gitlabRef returns the full name of the Git ref.
func gitlabRef(run ciRun) (string, error) {
	switch run["ref_type"] {
	case "branch":
		return "refs/heads/" + run["ref"], nil
	case "tag":
		return "refs/tags/" + run["ref"], nil
	default:
		return "", fault.New(fault.Invalid, "claim ref_type is neither branch nor tag")
	}
}

// buildkitePrincipal names a Buildkite job by its pipeline (contract: ca.md §5).
func buildkitePrincipal(_ Issuer, c Claims) (Principal, error) {
	run, err := readRun(c, []ciClaim{{name: "organization_slug", kind: segment}, {name: "pipeline_slug", kind: segment}})
	if err != nil {
		return Principal{}, err
	}
	return Principal{
		Name:       Name{URIName, under(https("buildkite.com"), run["organization_slug"], run["pipeline_slug"])},
		Challenges: []string{c.Subject},
	}, nil
}

// codefreshPrincipal names a Codefresh workflow by its pipeline, by names that
// may change and by ids that do not (contract: ca.md §5 and §6).
func codefreshPrincipal(_ Issuer, c Claims) (Principal, error) {
	run, err := readRun(c, []ciClaim{
		{name: "account_id", kind: segment},
		{name: "account_name", kind: inPath, optional: true},
		{name: "pipeline_id", kind: segment},
		{name: "pipeline_name", kind: inPath, optional: true},
		{name: "workflow_id", kind: segment},
		{name: "platform_url", optional: true},
		{name: "runner_environment", optional: true},
		{name: "scm_repo_url", optional: true},
		{name: "scm_ref", optional: true},
	})
	if err != nil {
		return Principal{}, err
	}
	platform, err := codefreshPlatform(run["platform_url"])
	if err != nil {
		return Principal{}, err
	}
	pipeline := run["pipeline_name"] + ":" + run["account_id"]
	build := under(platform, "build", run["workflow_id"])
	return Principal{
		Name:       Name{URIName, under(platform, run["account_name"], pipeline, run["pipeline_id"])},
		Challenges: []string{c.Subject},
		Attributes: []Attribute{
			{pki.OIDBuildSignerURI, build},
			{pki.OIDRunnerEnvironment, run["runner_environment"]},
			{pki.OIDSourceRepositoryURI, run["scm_repo_url"]},
			{pki.OIDSourceRepositoryRef, run["scm_ref"]},
			{pki.OIDBuildConfigURI, under(platform, "api/pipelines", run["pipeline_id"])},
			{pki.OIDRunInvocationURI, build},
		},
	}, nil
}

// codefreshPlatform returns the URL of the Codefresh server, the public one
// unless a token names its own.
func codefreshPlatform(text string) (url.URL, error) {
	if text == "" {
		return https("g.codefresh.io"), nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" ||
		u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return url.URL{}, fault.New(fault.Invalid, "claim platform_url is not a plain http or https URL")
	}
	return url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}, nil
}
