/**
 * The mock node as a plugin of the development and the preview server. Never part of a build.
 *
 * `MOCK_UNCLAIMED=1` begins with the claim, `MOCK_EMPTY=1` with an empty catalogue, `MOCK_STALE=1` with a podman
 * that does not answer. The claim code is ACRE-LIME-4821, the password "correct horse battery".
 */

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { Plugin, PreviewServer, ViteDevServer } from 'vite'
import { answer, isOwner } from './api.ts'
import { MockNode } from './node.ts'

/** How often the mock's clock turns, in milliseconds. */
const TICK_MS = 150
/** Where the pages of "installed" apps answer. */
const APPS_PORT = 4481
/** Paths that are the node's, whatever the method. */
const API = /^\/(rpc|session|events)(\/|$)/
const COOKIE = 'archy_mock'

async function read(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString('utf8')
}

function stream(node: MockNode, request: IncomingMessage, response: ServerResponse): void {
  response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' })
  response.write(': connected\n\n')
  const unlisten = node.listen((event) => {
    response.write(`event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`)
  })
  request.on('close', unlisten)
}

async function handle(node: MockNode, request: IncomingMessage, response: ServerResponse): Promise<boolean> {
  const path = new URL(request.url ?? '/', 'http://node').pathname
  const loggedIn = node.claimed && (request.headers.cookie ?? '').includes(`${COOKIE}=open`)
  const csrf = request.headers['x-archy-csrf']?.toString() ?? null
  if (path === '/events') {
    if (isOwner({ loggedIn, csrf })) stream(node, request, response)
    else response.writeHead(401).end()
    return true
  }
  if (!API.test(path) && !path.startsWith('/assets/')) return false
  const reply = answer(
    node,
    {
      method: request.method ?? 'GET',
      path,
      body: request.method === 'POST' ? await read(request) : '',
      csrf,
      loggedIn,
    },
    (now) =>
      response.setHeader(
        'Set-Cookie',
        `${COOKIE}=${now ? 'open' : 'out'}; Path=/; HttpOnly; SameSite=Strict`,
      ),
  )
  if (!reply) {
    if (!API.test(path)) return false
    response.writeHead(501, { 'Content-Type': 'text/plain' }).end(`not mocked: ${request.method} ${path}`)
    return true
  }
  response
    .writeHead(reply.status, { 'Content-Type': reply.type, 'Cache-Control': 'no-store' })
    .end(reply.body)
  return true
}

async function serve(
  node: MockNode,
  request: IncomingMessage,
  response: ServerResponse,
  next: () => void,
): Promise<void> {
  let done = true
  try {
    done = await handle(node, request, response)
  } catch (error) {
    response.writeHead(500, { 'Content-Type': 'text/plain' }).end(String(error))
  }
  if (!done) next()
}

function attach(server: ViteDevServer | PreviewServer): void {
  const node = new MockNode({
    claimed: process.env.MOCK_UNCLAIMED === undefined,
    empty: process.env.MOCK_EMPTY !== undefined,
    appsPort: APPS_PORT,
  })
  node.stale = process.env.MOCK_STALE !== undefined
  const clock = setInterval(() => node.advance(TICK_MS), TICK_MS)
  const apps = createServer((request, response) => {
    response.writeHead(200, { 'Content-Type': 'text/html' })
    response.end(
      `<!doctype html><html lang="en"><title>App</title><link rel="icon" href="data:,"><h1>${request.url?.replaceAll(/[^a-z0-9/-]/g, '')}</h1>`,
    )
  }).listen(APPS_PORT)
  server.httpServer?.on('close', () => {
    clearInterval(clock)
    apps.close()
  })
  server.middlewares.use((request, response, next) => {
    void serve(node, request, response, next)
  })
}

export function mockNode(): Plugin {
  return { name: 'archy:mock-node', configureServer: attach, configurePreviewServer: attach }
}
