// Signs and verifies with the published packages of sigstore-js what its command
// has no words for: blobs, key pairs, trust from files, images.
//
//   node sigstore.mjs MODULES sign|verify REQUEST
//
// MODULES is a node_modules folder, REQUEST the JSON of scriptRequest. The
// identity token is in SIGSTORE_ID_TOKEN.
import crypto from 'node:crypto'
import fs from 'node:fs'
import { createRequire } from 'node:module'

const [modules, operation, text] = process.argv.slice(2)
const load = createRequire(modules + '/')
const { bundleFromJSON, bundleToJSON } = load('@sigstore/bundle')
const { attachArtifactToImage } = load('@sigstore/oci')
const { SigningConfig, TrustedRoot } = load('@sigstore/protobuf-specs')
const sign = load('@sigstore/sign')
const { initTUF } = load('@sigstore/tuf')
const { toSignedEntity, toTrustMaterial, Verifier } = load('@sigstore/verify')

const bundleType = 'application/vnd.dev.sigstore.bundle.v0.3+json'
const intoto = 'application/vnd.in-toto+json'
const request = JSON.parse(text)

// Reads a file of trust from the kit, or from the TUF repository.
async function target(file, name) {
  if (file) return JSON.parse(fs.readFileSync(file))
  const { mirror, root, cache, forceCache } = request.tuf
  const tuf = await initTUF({ mirrorURL: mirror, rootPath: root, cachePath: cache, forceCache })
  return JSON.parse(await tuf.getTarget(name))
}

// An SSH fingerprint. Verifiers written in Go refuse an envelope whose key ID is
// neither this nor empty.
function fingerprint(spki) {
  const curve = 'nistp256'
  const fields = [`ecdsa-sha2-${curve}`, curve, spki.subarray(-65)].map((field) => {
    const bytes = Buffer.from(field)
    const length = Buffer.alloc(4)
    length.writeUInt32BE(bytes.length)
    return Buffer.concat([length, bytes])
  })
  const digest = crypto.createHash('sha256').update(Buffer.concat(fields)).digest('base64')
  return `SHA256:${digest.replace(/=+$/, '')}`
}

// A signer by a key pair, as programs on sigstore-js write theirs.
function keySigner(path) {
  const key = crypto.createPrivateKey(fs.readFileSync(path))
  const publicKey = crypto.createPublicKey(key)
  return {
    sign: async (data) => ({
      signature: crypto.sign('sha256', data, key),
      key: {
        $case: 'publicKey',
        publicKey: publicKey.export({ type: 'spki', format: 'pem' }),
        hint: fingerprint(publicKey.export({ type: 'spki', format: 'der' })),
      },
    }),
  }
}

async function builder() {
  const json = await target(request.signingConfig, 'signing_config.v0.2.json')
  if (!request.timestamp) {
    delete json.tsaUrls
    delete json.tsaConfig
  }
  const built = sign.bundleBuilderFromSigningConfig({
    signingConfig: SigningConfig.fromJSON(json),
    identityProvider: new sign.CIContextProvider('sigstore'),
    bundleType: request.statement ? 'dsseEnvelope' : 'messageSignature',
  })
  if (request.signWith) built.signer = keySigner(request.signWith)
  return built
}

async function makeBundle() {
  const artifact = request.statement
    ? { data: Buffer.from(request.statement), type: intoto }
    : { data: fs.readFileSync(request.file) }
  const bundle = bundleToJSON(await (await builder()).create(artifact))
  if (!request.image) {
    fs.writeFileSync(request.bundle, JSON.stringify(bundle))
    return
  }
  const [imageName, imageDigest] = request.image.split('@')
  await attachArtifactToImage({
    imageName,
    imageDigest,
    artifact: Buffer.from(JSON.stringify(bundle)),
    mediaType: bundleType,
    annotations: {
      'dev.sigstore.bundle.content': 'dsse-envelope',
      'dev.sigstore.bundle.predicateType': request.predicateType,
    },
  })
}

async function get(url, accept) {
  const response = await fetch(url, { headers: { accept } })
  return { status: response.status, json: response.ok ? await response.json() : undefined }
}

// Bundles that refer to an image, by the API or by the tag that stands in for it.
async function referrers(image) {
  const [name, digest] = image.split('@')
  const slash = name.indexOf('/')
  const base = `http://${name.slice(0, slash)}/v2/${name.slice(slash + 1)}`
  const index = 'application/vnd.oci.image.index.v1+json'
  let list = await get(`${base}/referrers/${digest}`, index)
  if (list.status === 404) list = await get(`${base}/manifests/${digest.replace(':', '-')}`, index)
  if (!list.json) throw new Error(`no referrers of ${image}: status ${list.status}`)
  const bundles = []
  for (const { digest: referrer } of list.json.manifests) {
    const manifest = await get(`${base}/manifests/${referrer}`, 'application/vnd.oci.image.manifest.v1+json')
    for (const layer of manifest.json.layers.filter((l) => l.mediaType === bundleType)) {
      bundles.push((await get(`${base}/blobs/${layer.digest}`, '*/*')).json)
    }
  }
  return bundles
}

// What sigstore-js leaves to its caller: is the statement on this artifact, and
// of this type?
function checkStatement(bundle, digest) {
  if (bundle.content.$case !== 'dsseEnvelope') throw new Error('not an attestation')
  const statement = JSON.parse(bundle.content.dsseEnvelope.payload)
  if (statement.predicateType !== request.predicateType) throw new Error(`predicate type is ${statement.predicateType}`)
  if (!statement.subject.some((s) => s.digest.sha256 === digest)) throw new Error(`no subject has the digest ${digest}`)
}

async function verifier() {
  const root = TrustedRoot.fromJSON(await target(request.trustedRoot, 'trusted_root.json'))
  const keys = request.publicKey && (() => ({
    publicKey: crypto.createPublicKey(fs.readFileSync(request.publicKey)),
    validFor: () => true,
  }))
  // The log's time counts as a timestamp, so a timestamp authority's is a second.
  return new Verifier(toTrustMaterial(root, keys), { timestampThreshold: request.timestamp ? 2 : 1 })
}

function verifyOne(by, json, digest) {
  const bundle = bundleFromJSON(json)
  if (request.publicKey && bundle.verificationMaterial.content.$case !== 'publicKey') throw new Error('not signed by a key pair')
  const policy = request.publicKey
    ? undefined
    : { subjectAlternativeName: request.identity, extensions: { issuer: request.issuer } }
  by.verify(toSignedEntity(bundle, request.file && fs.readFileSync(request.file)), policy)
  if (request.predicateType) checkStatement(bundle, digest)
}

async function verify() {
  const by = await verifier()
  if (!request.image) {
    const digest = crypto.createHash('sha256').update(fs.readFileSync(request.file)).digest('hex')
    verifyOne(by, JSON.parse(fs.readFileSync(request.bundle)), digest)
    return
  }
  const refusals = []
  for (const bundle of await referrers(request.image)) {
    try {
      verifyOne(by, bundle, request.image.split('@sha256:')[1])
      return
    } catch (err) {
      refusals.push(`${err.code}: ${err.message}`)
    }
  }
  throw new Error(`no bundle of ${request.image} verifies: ${refusals.join('; ')}`)
}

try {
  await { sign: makeBundle, verify }[operation]()
} catch (err) {
  for (let e = err; e; e = e.cause) console.error(`${e.code ?? e.name}: ${e.message}`)
  process.exit(1)
}
