/** Settings of the pretended node's apps: what their publishers say, and what the owner set. */

import type { ConfigureParams } from '../api/types/ConfigureParams'
import type { ContainerSetting } from '../api/types/ContainerSetting'
import type { PortSetting } from '../api/types/PortSetting'
import type { Problem } from '../api/types/Problem'
import type { SettingsPage } from '../api/types/SettingsPage'
import type { MockApp } from './catalogue.ts'
import { MockRefusal } from './opinions.ts'

const NOTHING: ContainerSetting = { environment: {}, memory: null, cpus: null, pids: null }
/** Ports that something else on the pretended machine uses. */
const TAKEN = [22, 8480]

function published(app: MockApp, container: string): ContainerSetting {
  const isMain = container === (app.containers ?? ['app'])[0]
  return {
    environment: isMain ? { LOG_LEVEL: 'info', MOTD: '', TZ: 'Etc/UTC' } : {},
    memory: isMain ? `${app.memoryMb}M` : null,
    cpus: null,
    pids: 512,
  }
}

function samePort(one: PortSetting, other: PortSetting): boolean {
  return one.container === other.container && one.port === other.port && one.protocol === other.protocol
}

export class MockSettings {
  private readonly pages = new Map<string, SettingsPage>()

  page(app: MockApp, hostPort: number): SettingsPage {
    const known = this.pages.get(app.slug)
    if (known) return known
    const containers = app.containers ?? ['app']
    const page: SettingsPage = {
      ports: containers
        .slice(0, 1)
        .map((container) => ({ container, port: 8080, protocol: 'tcp', hostPort })),
      containers: containers.map((name) => ({
        name,
        set: app.slug === 'radicale' ? { ...NOTHING, environment: { TZ: 'Europe/Berlin' } } : NOTHING,
        published: published(app, name),
      })),
    }
    this.pages.set(app.slug, page)
    return page
  }

  /** Refuses what cannot be read. */
  read({ containers }: ConfigureParams): void {
    for (const { memory } of Object.values(containers)) {
      // The real node knows no more than 8 PiB.
      if (memory !== null && (!/^\d+[KMGT]?$/.test(memory) || memory.length > 6)) {
        throw new MockRefusal({
          kind: 'invalid',
          message: `${JSON.stringify(memory)} is not a size: write a whole number and K, M, G or T (powers of 1024), as in 512M`,
          hint: null,
          details: [],
        })
      }
    }
  }

  /** What the job finds wrong with it. */
  conflict({ ports }: ConfigureParams): Problem | null {
    const taken = ports.find(({ hostPort }) => TAKEN.includes(hostPort))
    if (!taken) return null
    return {
      kind: 'portTaken',
      message: `port ${taken.hostPort} is in use; choose another`,
      hint: 'Stop what uses the port, then try again',
      details: [],
    }
  }

  apply({ slug, ports, containers }: ConfigureParams): void {
    const page = this.pages.get(slug)
    if (!page) return
    this.pages.set(slug, {
      ports: page.ports.map((port) => ports.find((wished) => samePort(wished, port)) ?? port),
      containers: page.containers.map((one) => ({ ...one, set: containers[one.name] ?? one.set })),
    })
  }
}
