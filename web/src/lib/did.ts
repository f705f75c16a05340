/** What a DID looks like to a person: a short form and a colour of its own. */

/** `did:key:z6MkhaXg…doK` → `z6Mkha…2doK`. */
export function shortDid(did: string): string {
  const name = did.slice(did.lastIndexOf(':') + 1)
  return name.length <= 14 ? name : `${name.slice(0, 6)}…${name.slice(-4)}`
}

/** FNV-1a, 32 bits: stable, spread, no secret. */
function hash(text: string): number {
  let value = 0x811c9dc5
  for (let i = 0; i < text.length; i++) {
    value ^= text.charCodeAt(i)
    value = Math.imul(value, 0x01000193)
  }
  return value >>> 0
}

/** A hue of 0–359 degrees that belongs to the publisher. */
export function publisherHue(did: string): number {
  return hash(did) % 360
}

/** The letters of an app without an icon: the initials of two words, or the first letter. */
export function monogram(name: string): string {
  const words = name
    .trim()
    .split(/[\s_-]+/)
    .filter((word) => /^[\p{L}\p{N}]/u.test(word))
  const letters =
    words.length > 1 ? words.slice(0, 2).map((word) => [...word][0]) : [[...(words[0] ?? '?')][0]]
  return letters.join('').toLocaleUpperCase()
}
