/** The node's HTTP answers over a {@link MockNode}: shared by the development server and the unit tests. */

import type { Session } from '../api/types/Session'
import { iconSvg, screenshotSvg } from './art.ts'
import type { MockNode } from './node.ts'
import { MockRefusal } from './opinions.ts'

export interface Answer {
  status: number
  type: string
  body: string
}

export interface Question {
  method: string
  path: string
  body: string
  csrf: string | null
  loggedIn: boolean
}

export const CSRF = 'mock-csrf-token'

function json(status: number, body: unknown): Answer {
  return { status, type: 'application/json', body: JSON.stringify(body) }
}

function wrong(): Answer {
  return json(403, {
    kind: 'wrong',
    message: 'That is not right',
    hint: 'The claim code is in the daemon’s log; `archyd claim` prints it too',
    details: [],
  })
}

function session(node: MockNode, open: boolean): Session {
  const state = node.claimed ? (open ? 'open' : 'locked') : 'unclaimed'
  return { state, csrf: null, node: node.name }
}

/** What is told once, to who has just got in. */
function entered(node: MockNode): Answer {
  return json(200, { ...session(node, true), csrf: CSRF })
}

/** Whether the question shows both halves of the session. */
export function isOwner({ loggedIn, csrf }: Pick<Question, 'loggedIn' | 'csrf'>): boolean {
  return loggedIn && csrf === CSRF
}

function rpc(node: MockNode, question: Question): Answer {
  if (!isOwner(question))
    return json(401, { kind: 'locked', message: 'Log in first', hint: null, details: [] })
  const { id, method, params } = JSON.parse(question.body) as {
    id: number
    method: string
    params: Record<string, unknown>
  }
  try {
    return json(200, { jsonrpc: '2.0', id, result: node.call(method, params) })
  } catch (error) {
    if (!(error instanceof MockRefusal)) throw error
    return json(200, {
      jsonrpc: '2.0',
      id,
      error: { code: -32_000, message: error.message, data: error.problem },
    })
  }
}

function asset(path: string): Answer | null {
  const icon = /^\/assets\/([a-z]+)-(\d+)\.svg$/.exec(path)
  if (icon) return { status: 200, type: 'image/svg+xml', body: iconSvg(icon[1] ?? '', Number(icon[2])) }
  const shot = /^\/assets\/shot-(\d+)-(\d+)\.svg$/.exec(path)
  if (shot)
    return { status: 200, type: 'image/svg+xml', body: screenshotSvg(Number(shot[1]), Number(shot[2])) }
  return null
}

/** Answers, or gives `null` for what is no part of the API. `login` tells that the session has changed. */
export function answer(node: MockNode, question: Question, login: (open: boolean) => void): Answer | null {
  const { method, path } = question
  if (method === 'GET' && path === '/session') return json(200, session(node, isOwner(question)))
  if (method === 'POST' && path === '/rpc/v1') return rpc(node, question)
  if (method === 'GET' && path.startsWith('/assets/')) return asset(path)
  if (method !== 'POST') return null
  if (path === '/session/claim') {
    const params = JSON.parse(question.body) as { code: string; password: string }
    if (node.claimed)
      return json(409, { kind: 'claimed', message: 'This node has an owner', hint: 'Log in', details: [] })
    if (params.code !== node.code) return wrong()
    node.claimed = true
    node.password = params.password
    login(true)
    return entered(node)
  }
  if (path === '/session/login') {
    const params = JSON.parse(question.body) as { password: string }
    if (params.password !== node.password) return wrong()
    login(true)
    return entered(node)
  }
  if (path === '/session/logout') {
    login(false)
    return json(200, session(node, false))
  }
  return null
}
