/** What the root hands down to the shell. */

import type { InjectionKey } from 'vue'

/** Asks the node again who we are, and goes where that leads. */
export const RECONSIDER: InjectionKey<() => Promise<void>> = Symbol('reconsider')
