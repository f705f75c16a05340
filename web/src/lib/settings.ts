/** What a person types about an app's settings, read and written. */

import type { ConfigureParams } from '../api/types/ConfigureParams'
import type { ContainerSetting } from '../api/types/ContainerSetting'
import type { PortSetting } from '../api/types/PortSetting'
import type { Problem } from '../api/types/Problem'
import type { SettingsPage } from '../api/types/SettingsPage'

/** A value as it stands in its field. */
export interface Value {
  text: string
  /** Whether it is the owner's instead of the publisher's. */
  yours: boolean
  published: string | null
}

export interface TypedPort {
  place: string
  port: PortSetting
  text: string
}

export interface TypedVariable extends Value {
  place: string
  name: string
}

export const LIMITS = ['memory', 'cpus', 'pids'] as const
export type Limit = (typeof LIMITS)[number]

export interface TypedContainer {
  name: string
  /** What the owner set before. */
  before: ContainerSetting
  variables: TypedVariable[]
  limits: Record<Limit, Value & { place: string }>
}

export interface TypedSettings {
  ports: TypedPort[]
  containers: TypedContainer[]
}

export type Wrong = 'port' | 'portTwice' | Limit | 'name' | 'nameTwice' | 'value'

const PIDS_MAX = 4_194_304
const NAME_LENGTH_MAX = 128
const VALUE_LENGTH_MAX = 4_096

/** Says what may stand in a limit's field. The node says whether it can be had. */
const READS: Record<Limit, (text: string) => boolean> = {
  memory: (text) => /^\d{1,16}[KMGT]?$/.test(text),
  cpus: (text) => /^\d{1,4}(\.\d{1,3})?$/.test(text) && Number(text) > 0,
  pids: (text) => /^\d{1,7}$/.test(text) && Number(text) >= 1 && Number(text) <= PIDS_MAX,
}

let added = 0

function valueOf(set: string | null | undefined, published: string | null | undefined): Value {
  return {
    text: set ?? published ?? '',
    yours: typeof set === 'string',
    published: published ?? null,
  }
}

function written(setting: ContainerSetting, limit: Limit): string | null {
  const value = setting[limit]
  return value === null ? null : String(value)
}

export function typedOf({ ports, containers }: SettingsPage): TypedSettings {
  return {
    ports: ports.map((port) => ({
      place: `${port.container}/${port.port}/${port.protocol}`,
      port,
      text: String(port.hostPort),
    })),
    containers: containers.map(({ name, set, published }) => {
      const limit = (one: Limit) => ({
        place: `${name}/${one}`,
        ...valueOf(written(set, one), written(published, one)),
      })
      const names = new Set([...Object.keys(published.environment), ...Object.keys(set.environment)])
      return {
        name,
        before: set,
        variables: [...names].toSorted().map((variable) => ({
          place: `${name}/environment/${variable}`,
          name: variable,
          ...valueOf(set.environment[variable], published.environment[variable]),
        })),
        limits: { memory: limit('memory'), cpus: limit('cpus'), pids: limit('pids') },
      }
    }),
  }
}

/** Takes what was typed into a value's field. A limit has no empty value: without one the publisher's holds. */
export function enter(value: Value, text: string, kind: Limit | 'variable'): void {
  value.text = text
  value.yours =
    kind === 'variable' ? text !== value.published : ![value.published ?? '', ''].includes(text.trim())
}

export function restore(value: Value): void {
  value.text = value.published ?? ''
  value.yours = false
}

/** Gives a container a variable that its publisher does not know. */
export function addVariable(container: TypedContainer): void {
  added += 1
  container.variables.push({
    place: `${container.name}/added/${added}`,
    name: '',
    text: '',
    yours: true,
    published: null,
  })
}

function portOf({ text }: TypedPort): number | null {
  const port = /^\d{1,5}$/.test(text.trim()) ? Number(text) : 0
  return port >= 1 && port <= 65_535 ? port : null
}

/** Whether it was added just now, so that its name is still to be said. */
export function isAdded(variable: TypedVariable): boolean {
  return variable.place.includes('/added/')
}

/** A row in which nothing was written yet counts for nothing. */
function isBlank(variable: TypedVariable): boolean {
  return isAdded(variable) && variable.name === '' && variable.text === ''
}

function wrongWithPort(port: TypedPort, all: readonly TypedPort[]): Wrong | null {
  const number = portOf(port)
  if (number === null) return 'port'
  const same = (other: TypedPort) => other.port.protocol === port.port.protocol && portOf(other) === number
  return all.filter(same).length > 1 ? 'portTwice' : null
}

function wrongWithVariable(variable: TypedVariable, all: readonly TypedVariable[]): Wrong | null {
  if (!variable.yours || isBlank(variable)) return null
  if (isAdded(variable)) {
    const isName = /^[A-Za-z_][A-Za-z0-9_]*$/.test(variable.name) && variable.name.length <= NAME_LENGTH_MAX
    if (!isName) return 'name'
    if (all.some((other) => other !== variable && other.name === variable.name)) return 'nameTwice'
  }
  return variable.text.length > VALUE_LENGTH_MAX ? 'value' : null
}

/** What cannot be sent, by its place. */
export function wrongOf({ ports, containers }: TypedSettings): Map<string, Wrong> {
  const found: [string, Wrong | null][] = [
    ...ports.map((port): [string, Wrong | null] => [port.place, wrongWithPort(port, ports)]),
    ...containers.flatMap(({ variables, limits }) => [
      ...variables.map((one): [string, Wrong | null] => [one.place, wrongWithVariable(one, variables)]),
      ...LIMITS.map((limit): [string, Wrong | null] => {
        const { place, text, yours } = limits[limit]
        return [place, yours && !READS[limit](text.trim()) ? limit : null]
      }),
    ]),
  ]
  return new Map(found.flatMap(([place, wrong]) => (wrong === null ? [] : [[place, wrong] as const])))
}

function settingOf({ variables, limits }: TypedContainer): ContainerSetting {
  const limit = (one: Limit) => (limits[one].yours ? limits[one].text.trim() : null)
  const pids = limit('pids')
  return {
    environment: Object.fromEntries(
      variables.filter((one) => one.yours && !isBlank(one)).map(({ name, text }) => [name, text]),
    ),
    memory: limit('memory'),
    cpus: limit('cpus'),
    pids: pids === null ? null : Number(pids),
  }
}

/** A setting as a text that is the same for the same setting. */
function plain({ environment, memory, cpus, pids }: ContainerSetting): string {
  const variables = Object.entries(environment).toSorted(([a], [b]) => (a < b ? -1 : 1))
  return JSON.stringify([variables, memory, cpus, pids])
}

/** What is to be set otherwise, and nothing else; `null` while nothing is, or some of it makes no sense. */
export function editOf(typed: TypedSettings): Omit<ConfigureParams, 'slug'> | null {
  if (wrongOf(typed).size > 0) return null
  const ports = typed.ports.flatMap((one) => {
    const hostPort = portOf(one) ?? one.port.hostPort
    return hostPort === one.port.hostPort ? [] : [{ ...one.port, hostPort }]
  })
  const containers = typed.containers
    .map((container) => ({ container, setting: settingOf(container) }))
    .filter(({ container, setting }) => plain(container.before) !== plain(setting))
    .map(({ container, setting }) => [container.name, setting] as const)
  return ports.length + containers.length === 0 ? null : { ports, containers: Object.fromEntries(containers) }
}

function hasWord(text: string, word: string): boolean {
  const escaped = word.replaceAll(/[^A-Za-z0-9_]/g, String.raw`\$&`)
  return word !== '' && new RegExp(`(?<![\\w-])${escaped}(?![\\w-])`).test(text)
}

/** Which of the owner's values the node speaks of when it refuses some; `null` where that cannot be told. */
export function placeOf({ message }: Problem, { ports, containers }: TypedSettings): string | null {
  const port = ports.find(
    (one) => portOf(one) !== one.port.hostPort && hasWord(message, `port ${one.text.trim()}`),
  )
  if (port) return port.place
  for (const { name, variables, limits } of containers) {
    const limit = LIMITS.map((one) => limits[one]).find(
      ({ yours, text }) => yours && message.includes(JSON.stringify(text.trim())),
    )
    if (limit) return limit.place
    const variable = variables.find(
      (one) => one.yours && hasWord(message, one.name) && hasWord(message, name),
    )
    if (variable) return variable.place
  }
  return null
}
