/** What the pretended node's owner says of publishers and reviewers, and its policy. */

import type { OpinionGiven } from '../api/types/OpinionGiven'
import type { OpinionPublished } from '../api/types/OpinionPublished'
import type { Policy } from '../api/types/Policy'
import type { PolicyPage } from '../api/types/PolicyPage'
import type { Problem } from '../api/types/Problem'
import type { PublisherCard } from '../api/types/PublisherCard'
import type { Reviewers } from '../api/types/Reviewers'
import type { TrustPage } from '../api/types/TrustPage'
import { type MockPublisher, PUBLISHERS } from './catalogue.ts'

/** Refuses a call in words, as the node does. */
export class MockRefusal extends Error {
  constructor(readonly problem: Problem) {
    super(problem.message)
  }
}

/** What precedes an install of somebody unproven. */
export const UNPROVEN: Problem = {
  kind: 'unproven',
  message: 'Nobody you trust has good experience with this publisher yet',
  hint: 'Read what the app may do, and install it only if you know where it comes from',
  details: [],
}

const USUAL: Policy = { showPointsMin: 0, installPointsMin: 0, updatePointsMin: 35, signaturesMin: 1 }
const OWN = '5d1e0b74a9c3f2688e41d07b6a95c0f3e2718d4b9a60c5f7132e8d4b0a7c96f1'

const HEARD: OpinionPublished = {
  eventId: OWN,
  pubkey: OWN,
  accepted: ['ws://192.168.1.4:8490'],
  refused: [],
  note: null,
}

export class MockOpinions {
  private policy = USUAL
  private reviewers: string[] = ['8f3c1a6de09b7542c3d5e8f0a1b2c4d6978685746352413021fedcba98765432']
  private spoken = false
  private readonly pinned = new Map<string, boolean>()
  private readonly blocked = new Map<string, boolean>()

  constructor(
    private readonly now: number,
    private readonly card: (publisher: MockPublisher) => PublisherCard,
  ) {}

  marks(publisher: MockPublisher): { pinned: boolean; blocked: boolean } {
    return {
      pinned: this.pinned.get(publisher.did) ?? publisher.pinned,
      blocked: this.blocked.get(publisher.did) ?? publisher.blocked,
    }
  }

  call(method: string, params: Record<string, unknown>): unknown {
    const did = String(params.publisher)
    switch (method) {
      case 'trust.show':
        return this.page(did)
      case 'trust.pin':
        this.pinned.set(did, params.pinned === true)
        return this.page(did)
      case 'trust.block':
        this.blocked.set(did, params.blocked === true)
        return this.page(did)
      case 'trust.report':
        return this.given(did, params)
      case 'trust.vouch':
        if (params.opinion !== 'caution') this.pinned.set(did, params.opinion === 'recommend')
        return this.given(did, params)
      case 'trust.reviewers':
        return this.listed()
      case 'trust.reviewer': {
        const pubkey = String(params.pubkey)
        this.reviewers = this.reviewers.filter((known) => known !== pubkey)
        if (params.trusted === true) this.reviewers.push(pubkey)
        this.spoken ||= params.public === true
        return { ...this.listed(), published: params.public === true ? HEARD : null }
      }
      case 'policy.show':
        return this.policyPage()
      case 'policy.set':
        this.policy = params as unknown as Policy
        return this.policyPage()
      default:
        throw new Error(`the mock node has no method ${method}`)
    }
  }

  private publisher(did: string): MockPublisher {
    const found = Object.values(PUBLISHERS).find((publisher) => publisher.did === did)
    if (!found)
      throw new MockRefusal({ kind: 'invalid', message: 'that is no publisher', hint: null, details: [] })
    return found
  }

  private page(did: string): TrustPage {
    const publisher = this.card(this.publisher(did))
    return {
      publisher,
      cap: null,
      refusal: null,
      observations: publisher.reasons
        .flatMap(({ evidence }) => evidence)
        .map((reference) => ({
          reference,
          kind: 'event',
          at: new Date(this.now - 3_600_000).toISOString(),
          text: `Seen by this node: ${reference}`,
          // Evidence on relays has its event, what the node saw itself has none.
          eventId: reference.startsWith('kind ') ? OWN : null,
          pubkey: reference.startsWith('kind ') ? OWN : null,
        })),
      apps: ['Syncthing'],
    }
  }

  private given(did: string, params: Record<string, unknown>): OpinionGiven {
    const aloud = params.public === true
    this.spoken ||= aloud
    return {
      page: this.page(did),
      published: aloud ? HEARD : null,
    }
  }

  private listed(): Reviewers {
    return { reviewers: [...this.reviewers], own: this.spoken ? OWN : null, published: null }
  }

  private policyPage(): PolicyPage {
    const marked = (mark: 'pinned' | 'blocked') =>
      Object.values(PUBLISHERS)
        .filter((publisher) => this.marks(publisher)[mark])
        .map(({ did }) => ({
          publisher: did,
          since: new Date(this.now - 86_400_000).toISOString(),
          apps: ['Syncthing', 'Radicale'],
        }))
    return {
      policy: this.policy,
      usual: USUAL,
      warnPoints: 35,
      pinned: marked('pinned'),
      blocked: marked('blocked'),
    }
  }
}
