package trust

import (
	"strings"
)

// envVar is one variable of the kit: a file of the kit, or else a fixed value.
type envVar struct{ name, file, value string }

// envVars lists the variables that clients read, in the order they are printed.
func envVars(url string, has func(file string) bool) []envVar {
	all := []envVar{
		{name: "SIGSTACK_URL", value: url},
		{name: "SIGSTORE_ROOT_FILE", file: FulcioPEMName},
		{name: "SIGSTORE_REKOR_PUBLIC_KEY", file: RekorPEMName},
		{name: "SIGSTORE_CT_LOG_PUBLIC_KEY_FILE", file: CTPEMName},
		{name: "SIGSTORE_TSA_CERTIFICATE_FILE", file: TSAPEMName},
		{name: "TUF_MIRROR", value: url + "/tuf"},
		{name: "TUF_ROOT_JSON", file: RootName},
		{name: "SSL_CERT_FILE", file: TLSPEMName},
		{name: "NODE_EXTRA_CA_CERTS", file: TLSPEMName},
	}
	var out []envVar
	for _, v := range all {
		if v.file == "" || has(v.file) {
			out = append(out, v)
		}
	}
	return out
}

// EnvLines returns the export lines for a kit in directory dir of the stack at
// url, quoted for any POSIX shell. has tells which kit files there are: a
// variable that names a missing file would break clients, so its line is left
// out.
func EnvLines(dir, url string, has func(file string) bool) []string {
	var out []string
	for _, v := range envVars(url, has) {
		value := v.value
		if v.file != "" {
			value = strings.TrimSuffix(dir, "/") + "/" + v.file
		}
		out = append(out, "export "+v.name+"="+shellQuote(value))
	}
	return out
}

func shellQuote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// envScript renders env.sh, which finds the directory it stands in when it is
// used: copied or downloaded elsewhere it names the files beside it.
func envScript(home, url string, has func(string) bool) []byte {
	var exports, names strings.Builder
	for _, v := range envVars(url, has) {
		value := shellQuote(v.value)
		if v.file != "" {
			value = `"$sigstack_kit/` + v.file + `"`
		}
		exports.WriteString("export " + v.name + "=" + value + "\n")
		names.WriteString(" " + v.name)
	}
	return []byte(envHead + shellQuote(home) + "\nfi\n" + envCheck + exports.String() + envPrint(names.String()))
}

// A sourced script can learn its own path from bash and zsh only. What is last,
// after the working directory, is where the kit was written.
const envHead = `# Points Sigstore clients at the kit in this directory:
#   . ./env.sh                      sets the variables in bash, zsh and sh
#   eval "$(sh /path/to/env.sh)"    the same from any shell and directory
# With these set, cosign 3 verifies bundles only when given --trusted-root.
sigstack_kit=${BASH_SOURCE:-}
if [ -z "$sigstack_kit" ] && [ -n "${ZSH_VERSION:-}" ]; then
  eval 'sigstack_kit=${(%):-%x}'
elif [ -z "$sigstack_kit" ]; then
  case ${0##*/} in env.sh) sigstack_kit=$0 ;; esac
fi
if [ -n "$sigstack_kit" ]; then
  sigstack_kit=$(CDPATH= cd -- "$(dirname -- "$sigstack_kit")" && pwd)
elif [ -f ./root.json ] && [ -f ./env.sh ]; then
  sigstack_kit=$(pwd)
else
  sigstack_kit=`

const envCheck = `if [ ! -f "$sigstack_kit/root.json" ]; then
  echo "env.sh: no kit in '$sigstack_kit'; change to the directory of env.sh first" >&2
  unset sigstack_kit
  return 1 2>/dev/null || exit 1
fi
`

// envPrint makes the script, when run and not sourced, print what it set. In zsh
// a sourced file is $0 too, but the context then has more parts.
func envPrint(names string) string {
	return `case ${ZSH_EVAL_CONTEXT:-}${0##*/} in
env.sh | toplevelenv.sh)
  for sigstack_name in` + names + `; do
    eval "sigstack_value=\$$sigstack_name"
    printf "export %s='%s'\n" "$sigstack_name" "$(printf '%s\n' "$sigstack_value" | sed "s/'/'\\\\''/g")"
  done
  unset sigstack_name sigstack_value
  ;;
esac
unset sigstack_kit
`
}
