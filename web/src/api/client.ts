/** Talks HTTP with the node: JSON-RPC 2.0, the stream of events and the session. Knows no queries and keeps nothing. */

import { LockedError, ProblemError, UnreachableError, problemFrom } from './errors'
import type { Method, Methods } from './methods'
import { forgetSessionToken, keepSessionToken, sessionToken } from './token'
import type { ClaimParams } from './types/ClaimParams'
import type { LoginParams } from './types/LoginParams'
import type { Problem } from './types/Problem'
import type { Session } from './types/Session'

let nextId = 1

/** Asks as the owner, if anybody has logged in from here: the cookie alone opens nothing. */
function ask(path: string, accept: string, init: RequestInit): Promise<Response> {
  const token = sessionToken()
  return fetch(path, {
    credentials: 'same-origin',
    cache: 'no-store',
    ...init,
    headers: { Accept: accept, ...(token === null ? {} : { 'X-Archy-CSRF': token }), ...init.headers },
  })
}

async function send(path: string, init: RequestInit): Promise<{ response: Response; body: unknown }> {
  let response: Response
  let text: string
  try {
    response = await ask(path, 'application/json', init)
    text = await response.text()
  } catch (cause) {
    if (cause instanceof DOMException && cause.name === 'AbortError') throw cause
    throw new UnreachableError('The node does not answer', { cause })
  }
  let body: unknown = text
  try {
    body = text === '' ? null : JSON.parse(text)
  } catch {
    // An answer that is not JSON is shown in its own words.
  }
  return { response, body }
}

function post(path: string, body: unknown, signal?: AbortSignal) {
  return send(path, {
    method: 'POST',
    body: JSON.stringify(body),
    headers: { 'Content-Type': 'application/json' },
    ...(signal ? { signal } : {}),
  })
}

function isGatewayFailure(status: number): boolean {
  return status === 502 || status === 503 || status === 504
}

function isReply(value: unknown): value is { result?: unknown; error?: unknown } {
  return typeof value === 'object' && value !== null && 'jsonrpc' in value
}

/** Calls one method of the node. Throws {@link ProblemError}, {@link LockedError} or {@link UnreachableError}. */
export async function rpc<M extends Method>(
  method: M,
  params: Methods[M]['params'],
  signal?: AbortSignal,
): Promise<Methods[M]['result']> {
  const { response, body } = await post('/rpc/v1', { jsonrpc: '2.0', id: nextId++, method, params }, signal)
  if (response.status === 401) throw new LockedError('The session has ended')
  if (isGatewayFailure(response.status)) throw new UnreachableError('The node does not answer')
  if (isReply(body) && body.error === undefined && response.ok) return body.result as Methods[M]['result']
  const fallback = `The node answered ${response.status} to ${method}`
  throw new ProblemError(problemFrom(isReply(body) ? body.error : body, fallback), response.status)
}

function isSession(value: unknown): value is Session {
  return typeof value === 'object' && value !== null && 'state' in value && 'node' in value
}

function sessionOf(response: Response, body: unknown): Session {
  if (!response.ok || !isSession(body)) {
    throw new ProblemError(problemFrom(body, `The node answered ${response.status}`), response.status)
  }
  return body
}

/** Opens the stream of events; its answer ends only with the stream. */
export function openEvents(signal: AbortSignal): Promise<Response> {
  return ask('/events', 'text/event-stream', { signal })
}

/** Asks who we are to the node. */
export async function fetchSession(signal?: AbortSignal): Promise<Session> {
  const { response, body } = await send('/session', signal ? { signal } : {})
  if (isGatewayFailure(response.status)) throw new UnreachableError('The node does not answer')
  return sessionOf(response, body)
}

/** What a log-in comes to that the browser does not keep. */
const COOKIE_MISSING: Problem = {
  kind: 'cookie',
  message: 'The log-in went through, but your browser does not send the node’s cookie',
  hint: 'Cookies are blocked, or an app on this host has put one in its place. Allow cookies for this address, or clear those of this host; then load this page again and log in',
  details: [],
}

async function enter(path: string, params: ClaimParams | LoginParams): Promise<Session> {
  const { response, body } = await post(path, params)
  const opened = sessionOf(response, body)
  if (opened.csrf !== null) keepSessionToken(opened.csrf)
  // The node cannot tell whether the browser took the cookie.
  const session = await fetchSession()
  if (session.state === 'open') return session
  forgetSessionToken()
  throw new ProblemError(COOKIE_MISSING, response.status)
}

export function claim(params: ClaimParams): Promise<Session> {
  return enter('/session/claim', params)
}

export function login(params: LoginParams): Promise<Session> {
  return enter('/session/login', params)
}

export async function logout(): Promise<void> {
  const { response, body } = await post('/session/logout', {})
  if (!response.ok && response.status !== 401) sessionOf(response, body)
  forgetSessionToken()
}
