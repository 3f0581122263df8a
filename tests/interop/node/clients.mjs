// Two libraries of others, unmodified: they get tokens, call, exchange and revoke.
// Standard input: {issuer, api, parent: {id, key}, child: {id, key}}, keys as private JWKs.
// Standard output: {client: {...what each step gave}}.

import * as oauth from 'oauth4webapi'
import * as client from 'openid-client'

const chunks = []
for await (const chunk of process.stdin) chunks.push(chunk)
const given = JSON.parse(Buffer.concat(chunks).toString())

const ES256 = { name: 'ECDSA', namedCurve: 'P-256' }
const insecure = { [oauth.allowInsecureRequests]: true }
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token'

async function privateKey({ kty, crv, x, y, d, kid }) {
  const key = await crypto.subtle.importKey('jwk', { kty, crv, x, y, d }, ES256, false, ['sign'])
  return { key, kid }
}

async function withOauth4webapi({ id, key }) {
  const issuer = new URL(given.issuer)
  const found = await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...insecure })
  const as = await oauth.processDiscoveryResponse(issuer, found)
  const me = { client_id: id }
  const auth = oauth.PrivateKeyJwt(await privateKey(key))
  const DPoP = oauth.DPoP(me, await oauth.generateKeyPair('ES256'))
  const asked = new URLSearchParams({ resource: given.api })
  const ask = async () => {
    const sent = await oauth.clientCredentialsGrantRequest(as, me, auth, asked, { DPoP, ...insecure })
    return await oauth.processClientCredentialsResponse(as, me, sent)
  }
  const token = await ask().catch((error) => {
    // The library keeps the nonce of a refusal: the same call again carries it.
    if (!oauth.isDPoPNonceError(error)) throw error
    return ask()
  })
  const url = new URL(`${given.api}/tools`)
  const call = () =>
    oauth.protectedResourceRequest(token.access_token, 'GET', url, undefined, undefined, { DPoP, ...insecure })
  const called = await call()
  const looked = await oauth.introspectionRequest(as, me, auth, token.access_token, insecure)
  const active = await oauth.processIntrospectionResponse(as, me, looked)
  const revoked = await oauth.revocationRequest(as, me, auth, token.access_token, insecure)
  await oauth.processRevocationResponse(revoked)
  let after = 200
  try {
    after = (await call()).status
  } catch (error) {
    after = error.status ?? error.response?.status ?? String(error)
  }
  return {
    token_type: token.token_type,
    caller: await called.json(),
    active: active.active,
    after,
  }
}

async function openid({ id, key }) {
  const config = await client.discovery(
    new URL(given.issuer), id, undefined, client.PrivateKeyJwt(await privateKey(key)),
    { algorithm: 'oauth2', execute: [client.allowInsecureRequests] },
  )
  const DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair('ES256'))
  const token = await client.clientCredentialsGrant(config, { resource: given.api }, { DPoP })
  return { config, DPoP, token }
}

async function withOpenidClient(parent, child) {
  const above = await openid(parent)
  const below = await openid(child)
  const lent = await client.genericGrantRequest(
    below.config,
    'urn:ietf:params:oauth:grant-type:token-exchange',
    {
      resource: given.api,
      subject_token: above.token.access_token,
      subject_token_type: ACCESS_TOKEN,
      actor_token: below.token.access_token,
      actor_token_type: ACCESS_TOKEN,
      scope: 'tool:orders.get',
    },
    { DPoP: below.DPoP },
  )
  const call = async ({ config, DPoP }, token) => {
    const url = new URL(`${given.api}/tools`)
    const answer = await client.fetchProtectedResource(config, token, url, 'GET', undefined, undefined, { DPoP })
    return await answer.json()
  }
  const said = {
    token_type: above.token.token_type,
    caller: await call(above, above.token.access_token),
    lent: await call(below, lent.access_token),
    issued_token_type: lent.issued_token_type,
    expires_in: lent.expires_in,
  }
  await client.tokenRevocation(above.config, above.token.access_token)
  said.after = await call(below, lent.access_token).then(
    () => 200,
    (error) => error.status ?? error.cause?.status ?? String(error),
  )
  return said
}

console.log(JSON.stringify({
  oauth4webapi: await withOauth4webapi(given.parent),
  'openid-client': await withOpenidClient(given.parent, given.child),
}))
