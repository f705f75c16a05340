/**
 * The session's second token. The browser keeps it for this origin alone, while the cookie goes to every port of the host,
 * apps' included. Read at each request, so that every tab has what the last log-in in any of them was told.
 */

const KEY = 'archy.session'

/** What could not be stored lasts as long as this page. */
let unstored: string | null = null

export function sessionToken(): string | null {
  if (unstored !== null) return unstored
  try {
    return localStorage.getItem(KEY)
  } catch {
    return null
  }
}

export function keepSessionToken(token: string): void {
  unstored = null
  try {
    localStorage.setItem(KEY, token)
  } catch {
    unstored = token
  }
}

export function forgetSessionToken(): void {
  unstored = null
  try {
    localStorage.removeItem(KEY)
  } catch {
    // Then nothing was stored.
  }
}

/** Calls `changed` when another tab has logged in or out. */
export function onSessionElsewhere(changed: () => void): void {
  window.addEventListener('storage', ({ key }) => {
    // Without a key, everything was cleared.
    if (key === KEY || key === null) changed()
  })
}
