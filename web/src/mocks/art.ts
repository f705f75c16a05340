/** Icons and screenshots of the mock's apps, drawn on the fly. */

const GLYPHS: Record<string, string> = {
  hand: '<path d="M18 11V6a2 2 0 0 0-4 0v5M14 10V4a2 2 0 0 0-4 0v6M10 10.5V6a2 2 0 0 0-4 0v8"/><path d="M18 8a2 2 0 1 1 4 0v6a8 8 0 0 1-8 8h-2c-2.8 0-4.5-.9-6-2.3l-3.6-3.6a2 2 0 0 1 2.8-2.8L7 15"/>',
  calendar: '<rect x="3" y="4" width="18" height="18" rx="2"/><path d="M8 2v4M16 2v4M3 10h18M8 15h3"/>',
  pen: '<path d="M12 20h9M16.4 3.6a2.1 2.1 0 0 1 3 3L7 19l-4 1 1-4Z"/>',
  sync: '<path d="M3 12a9 9 0 0 1 15-6.7L21 8M21 3v5h-5M21 12a9 9 0 0 1-15 6.7L3 16M3 21v-5h5"/>',
  play: '<path d="M6 4v16l14-8Z"/>',
  image:
    '<rect x="3" y="3" width="18" height="18" rx="2"/><circle cx="9" cy="9" r="2"/><path d="m21 15-3.1-3.1a2 2 0 0 0-2.8 0L6 21"/>',
  file: '<path d="M15 2H6a2 2 0 0 0-2 2v16a2 2 0 0 0 2 2h12a2 2 0 0 0 2-2V7ZM14 2v6h6M8 13h8M8 17h8"/>',
  lock: '<rect x="3" y="11" width="18" height="11" rx="2"/><path d="M7 11V7a5 5 0 0 1 10 0v4"/>',
  home: '<path d="m3 9 9-7 9 7v11a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2ZM9 22V12h6v10"/>',
  branch:
    '<path d="M6 3v12"/><circle cx="18" cy="6" r="3"/><circle cx="6" cy="18" r="3"/><path d="M18 9a9 9 0 0 1-9 9"/>',
  coin: '<circle cx="12" cy="12" r="9"/><path d="M9 8h5a2 2 0 0 1 0 4H9h5.5a2 2 0 0 1 0 4H9M11 6v2M11 16v2"/>',
  radio:
    '<circle cx="12" cy="12" r="2"/><path d="M7.8 16.2a6 6 0 0 1 0-8.4M16.2 7.8a6 6 0 0 1 0 8.4M4.9 19.1a10 10 0 0 1 0-14.2M19.1 4.9a10 10 0 0 1 0 14.2"/>',
  chat: '<path d="M7.9 20A9 9 0 1 0 4 16.1L2 22Z"/>',
  flame:
    '<path d="M8.5 14.5A2.5 2.5 0 0 0 11 12c0-1.4-.5-2-1-3-1-2.1-.2-4 2-6 .5 2.5 2 4.9 4 6.500 2 1.600 3 3.500 3 5.500a7 7 0 1 1-14 0c0-1.200.400-2.300 1-3a2.500 2.500 0 0 0 2.500 2.500Z"/>',
  chart: '<path d="M3 3v18h18M8 17v-4M13 17V7M18 17v-7"/>',
  shield: '<path d="M20 13c0 5-3.500 7.500-8 9-4.500-1.500-8-4-8-9V5l8-3 8 3ZM9 12l2 2 4-4"/>',
  music: '<path d="M9 18V5l12-2v13"/><circle cx="6" cy="18" r="3"/><circle cx="18" cy="16" r="3"/>',
  rss: '<path d="M4 11a9 9 0 0 1 9 9M4 4a16 16 0 0 1 16 16"/><circle cx="5" cy="19" r="1"/>',
  book: '<path d="M2 3h6a4 4 0 0 1 4 4v14a3 3 0 0 0-3-3H2ZM22 3h-6a4 4 0 0 0-4 4v14a3 3 0 0 1 3-3h7Z"/>',
}

export function iconSvg(art: string, hue: number): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64"><defs><linearGradient id="g" x1="0" y1="0" x2="1" y2="1"><stop offset="0" stop-color="hsl(${hue} 72% 58%)"/><stop offset="1" stop-color="hsl(${(hue + 24) % 360} 68% 40%)"/></linearGradient></defs><rect width="64" height="64" fill="url(#g)"/><g transform="translate(15 15) scale(1.417)" fill="none" stroke="#fff" stroke-width="2" stroke-linecap="round" stroke-linejoin="round">${GLYPHS[art] ?? ''}</g></svg>`
}

export function screenshotSvg(hue: number, seed: number): string {
  const rows = Array.from({ length: 6 }, (_, row) => {
    const width = 180 + ((seed * 97 + row * 61) % 160)
    return `<rect x="230" y="${150 + row * 58}" width="${width}" height="14" rx="7" fill="hsl(${hue} 14% 72%)"/><rect x="230" y="${174 + row * 58}" width="${width - 70}" height="9" rx="4.500" fill="hsl(${hue} 12% 86%)"/><circle cx="700" cy="${166 + row * 58}" r="13" fill="hsl(${(hue + row * 24) % 360} 55% 72%)"/>`
  })
  const side = Array.from(
    { length: 5 },
    (_, row) =>
      `<rect x="32" y="${110 + row * 42}" width="${90 + ((row * 37 + seed * 11) % 40)}" height="12" rx="6" fill="hsl(${hue} 30% ${row === seed % 5 ? 92 : 70}%)"/>`,
  )
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 800 500" width="800" height="500"><rect width="800" height="500" fill="hsl(${hue} 20% 97%)"/><rect width="190" height="500" fill="hsl(${hue} 42% 34%)"/><circle cx="48" cy="48" r="17" fill="hsl(${hue} 60% 62%)"/>${side.join('')}<rect x="230" y="56" width="260" height="26" rx="13" fill="hsl(${hue} 22% 42%)"/><rect x="650" y="52" width="112" height="34" rx="10" fill="hsl(${hue} 62% 48%)"/>${rows.join('')}</svg>`
}
