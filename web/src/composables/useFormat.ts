import { useI18n } from 'vue-i18n'
import { date, span } from '@/lib/format'

/** Times in words. */
export function useFormat() {
  const { t } = useI18n()

  /** `30 s`, `2 min`. */
  function duration(seconds: number): string {
    const { unit, count } = span(seconds)
    return t(`time.${unit}`, { count }, count)
  }

  /** `just now`, `5 min ago`, and the date for what is older than a month. */
  function ago(time: string | number, now: number): string {
    const seconds = (now - new Date(time).getTime()) / 1000
    if (seconds < 10) return t('time.justNow')
    if (seconds > 30 * 86_400) return date(new Date(time).toISOString())
    return t('time.ago', { span: duration(seconds) })
  }

  return { duration, ago }
}
