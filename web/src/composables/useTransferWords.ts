import { useI18n } from 'vue-i18n'
import type { Transfer } from '@/api/types/Transfer'
import { bytes, percent } from '@/lib/format'

/** What a download spared, and who bore it. */
export function useTransferWords() {
  const { t } = useI18n()

  /** `412 MB, of which 398 MB were here already`; nothing where nothing was. */
  function reused({ wholeBytes, reusedBytes }: Transfer): string | null {
    if (reusedBytes === 0 || wholeBytes === 0) return null
    return t('job.reused', { whole: bytes(wholeBytes), reused: bytes(reusedBytes) })
  }

  /** `60 % from other nodes`; nothing while nothing came. */
  function shared({ providers }: Transfer): string | null {
    const all = providers.reduce((sum, provider) => sum + provider.bytes, 0)
    if (all === 0) return null
    const others = providers.filter((provider) => provider.kind !== 'origin')
    const share = others.reduce((sum, provider) => sum + provider.bytes, 0) / all
    return t('job.fromOthers', { share: percent(share * 100) })
  }

  return { reused, shared }
}
