package identity

import (
	"net/url"
	"path"

	"sigstack/internal/fault"
	"sigstack/internal/pki"
)

// githubPrincipal names a GitHub Actions run by the workflow file and ref that
// define the job (contract: ca.md §5 and §6). The type knows github.com only.
func githubPrincipal(_ Issuer, c Claims) (Principal, error) {
	run, err := githubClaims(c)
	if err != nil {
		return Principal{}, err
	}
	uri := func(parts ...string) string {
		u := url.URL{Scheme: "https", Host: "github.com", Path: "/" + path.Join(parts...)}
		return u.String()
	}
	return Principal{
		Name:       Name{URIName, uri(run.jobWorkflowRef)},
		Challenges: []string{c.Subject},
		Attributes: []Attribute{
			{pki.OIDWorkflowTrigger, run.eventName},
			{pki.OIDWorkflowSHA, run.sha},
			{pki.OIDWorkflowName, run.workflow},
			{pki.OIDWorkflowRepository, run.repository},
			{pki.OIDWorkflowRef, run.ref},
			{pki.OIDBuildSignerURI, uri(run.jobWorkflowRef)},
			{pki.OIDBuildSignerDigest, run.jobWorkflowSHA},
			{pki.OIDRunnerEnvironment, run.runnerEnvironment},
			{pki.OIDSourceRepositoryURI, uri(run.repository)},
			{pki.OIDSourceRepositoryDigest, run.sha},
			{pki.OIDSourceRepositoryRef, run.ref},
			{pki.OIDSourceRepositoryID, run.repositoryID},
			{pki.OIDSourceRepositoryOwner, uri(run.repositoryOwner)},
			{pki.OIDSourceRepositoryOwnerID, run.repositoryOwnerID},
			{pki.OIDBuildConfigURI, uri(run.workflowRef)},
			{pki.OIDBuildConfigDigest, run.workflowSHA},
			{pki.OIDBuildTrigger, run.eventName},
			{pki.OIDRunInvocationURI, uri(run.repository, "actions/runs", run.runID, "attempts", run.runAttempt)},
			{pki.OIDRepositoryVisibility, run.visibility},
			{pki.OIDDeploymentEnvironment, run.environment},
		},
	}, nil
}

// githubRun holds GitHub's claims. All but environment are always there.
type githubRun struct {
	eventName, sha, workflow, repository, ref             string
	jobWorkflowRef, jobWorkflowSHA, workflowRef           string
	workflowSHA, runnerEnvironment, repositoryID          string
	repositoryOwner, repositoryOwnerID, runID, runAttempt string
	visibility                                            string
	environment                                           string
}

func githubClaims(c Claims) (githubRun, error) {
	var run githubRun
	claims := []struct {
		name   string
		into   *string
		inPath bool // becomes part of a URL's path
	}{
		{"event_name", &run.eventName, false},
		{"sha", &run.sha, false},
		{"workflow", &run.workflow, false},
		{"repository", &run.repository, true},
		{"ref", &run.ref, false},
		{"job_workflow_ref", &run.jobWorkflowRef, true},
		{"job_workflow_sha", &run.jobWorkflowSHA, false},
		{"workflow_ref", &run.workflowRef, true},
		{"workflow_sha", &run.workflowSHA, false},
		{"runner_environment", &run.runnerEnvironment, false},
		{"repository_id", &run.repositoryID, false},
		{"repository_owner", &run.repositoryOwner, true},
		{"repository_owner_id", &run.repositoryOwnerID, false},
		{"run_id", &run.runID, true},
		{"run_attempt", &run.runAttempt, true},
		{"repository_visibility", &run.visibility, false},
	}
	for _, claim := range claims {
		value, err := c.Text(claim.name)
		if err != nil {
			return githubRun{}, err
		}
		// A ".." would let a URL point at another repository than the claim names.
		if claim.inPath && path.Clean("/"+value) != "/"+value {
			return githubRun{}, fault.Newf(fault.Invalid, "claim %s is not a clean path", claim.name)
		}
		*claim.into = value
	}
	var err error
	run.environment, err = c.optionalText("environment")
	return run, err
}
