// Judges for sigstore-js, one JSON object a line: a case on standard input, the
// verdict {"accepted", "words"} on standard output, in the same order. The one
// argument is the folder whose node_modules hold sigstore-js.
import { createPublicKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { createInterface } from 'node:readline';

const require = createRequire(path.join(process.argv[2], 'judge.js'));
const { bundleFromJSON } = require('@sigstore/bundle');
const { TrustedRoot } = require('@sigstore/protobuf-specs');
const { FulcioSigner } = require('@sigstore/sign');
const { getTrustedRoot } = require('@sigstore/tuf');
const { toSignedEntity, toTrustMaterial, Verifier } = require('@sigstore/verify');

const json = (file) => JSON.parse(readFileSync(file, 'utf8'));

// A key that a verifier was given stands for whatever key the bundle hints at.
function keyOf(file) {
  if (!file) return undefined;
  const publicKey = createPublicKey(readFileSync(file, 'utf8'));
  return () => ({ publicKey, validFor: () => true });
}

function verify({ bundle, artifact, trustedRoot, key, subject, issuer, timestamps }) {
  const trusted = toTrustMaterial(TrustedRoot.fromJSON(json(trustedRoot)), keyOf(key));
  const verifier = new Verifier(trusted, { timestampThreshold: timestamps });
  const policy = key ? undefined : { subjectAlternativeName: subject, extensions: { issuer } };
  const parsed = bundleFromJSON(json(bundle));
  verifier.verify(toSignedEntity(parsed, readFileSync(artifact)), policy);
}

async function refresh({ mirror, root, cache }) {
  await getTrustedRoot({ mirrorURL: mirror, rootPath: root, cachePath: cache, retry: { retries: 0 } });
}

async function certify({ ca, token }) {
  const identityProvider = { getToken: async () => token };
  await new FulcioSigner({ fulcioBaseURL: ca, identityProvider }).sign(Buffer.from('hello\n'));
}

const judgeOf = (request) => (request.ca ? certify : request.mirror ? refresh : verify);

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  let verdict = { accepted: true, words: '' };
  try {
    await judgeOf(request)(request);
  } catch (e) {
    const words = [e.code, e.message, e.cause?.message].filter(Boolean).join(': ');
    verdict = { accepted: false, words: words || String(e) };
  }
  process.stdout.write(JSON.stringify(verdict) + '\n');
}
