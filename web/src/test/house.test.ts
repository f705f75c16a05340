/** Rules of the house that no linter knows. */

import { readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { parse } from 'vue/compiler-sfc'
import { describe, expect, it } from 'vitest'
import en from '@/locales/en.json'

const SRC = join(import.meta.dirname, '..')
const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' })
  .filter((path) => /\.(vue|ts)$/.test(path) && !/^(mocks|test|api\/types)\/|\.test\.ts$/.test(path))
  .map((path) => ({ path, text: readFileSync(join(SRC, path), 'utf8') }))

function leaves(value: unknown, path: string): string[] {
  return typeof value === 'object' && value !== null
    ? Object.entries(value).flatMap(([key, inner]) => leaves(inner, path === '' ? key : `${path}.${key}`))
    : [path]
}

const catalogue = leaves(en, '')
/** Every key that the sources ask for; `.*` where a part is worked out. */
const asked = files.flatMap(({ text }) =>
  [...text.matchAll(/\b(?:te?)\(\s*(['`])([a-zA-Z.${}[\]]+)\1/g)].map(([, , key]) =>
    (key ?? '').replaceAll(/\$\{[^}]*\}/g, '*'),
  ),
)
const covers = (pattern: string, key: string) =>
  new RegExp(`^${pattern.replaceAll('.', '\\.').replaceAll('*', '[a-zA-Z]+')}$`).test(key)

/** Text nodes of a template that hold letters. */
function rawText(node: unknown): string[] {
  if (typeof node !== 'object' || node === null) return []
  const { type, content, children, branches } = node as Record<string, unknown>
  const own = type === 2 && typeof content === 'string' && /\p{L}/u.test(content) ? [content.trim()] : []
  return [
    ...own,
    ...[children, branches].flatMap((list) => (Array.isArray(list) ? list.flatMap(rawText) : [])),
  ]
}

describe('the catalogue', () => {
  it('has every key that is asked for', () => {
    expect(asked.length).toBeGreaterThan(150)
    expect(asked.filter((key) => !catalogue.some((known) => covers(key, known)))).toEqual([])
  })

  it('has no key that nobody asks for', () => {
    expect(catalogue.filter((key) => !asked.some((pattern) => covers(pattern, key)))).toEqual([])
  })

  it('holds every word: templates have no text of their own', () => {
    const raw = files
      .filter(({ path }) => path.endsWith('.vue'))
      .flatMap(({ path, text }) =>
        rawText(parse(text).descriptor.template?.ast).map((words) => `${path}: ${words}`),
      )
    expect(raw).toEqual([])
  })
})

describe('the sources', () => {
  it('trust HTML in one place only', () => {
    const found = files.filter(({ text }) => /v-html|innerHTML/.test(text)).map(({ path }) => path)
    expect(found.map((path) => relative('', path))).toEqual(['components/PublisherHtml.vue'])
  })

  it('name every colour in the theme', () => {
    const found = files.filter(
      ({ path, text }) => path.endsWith('.vue') && /#[0-9a-f]{3,8}\b(?!\w)|rgba?\(/i.test(text),
    )
    expect(found.map(({ path }) => path)).toEqual([])
  })

  it('leave parts without domain words to components/ui', () => {
    const found = files.filter(
      ({ path, text }) => path.startsWith('components/ui/') && /@\/api|useI18n/.test(text),
    )
    expect(found.map(({ path }) => path)).toEqual([])
  })

  it('never carry the mock node', () => {
    expect(files.filter(({ text }) => /mocks\//.test(text)).map(({ path }) => path)).toEqual([])
  })
})
