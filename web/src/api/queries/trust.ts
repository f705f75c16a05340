import { useMutation, useQuery, useQueryClient } from '@tanstack/vue-query'
import { computed, type MaybeRefOrGetter, toValue } from 'vue'
import { rpc } from '../client'
import { keys } from '../keys'
import type { BlockParams } from '../types/BlockParams'
import type { PinParams } from '../types/PinParams'
import type { Policy } from '../types/Policy'
import type { ReportParams } from '../types/ReportParams'
import type { ReviewerParams } from '../types/ReviewerParams'
import type { VouchParams } from '../types/VouchParams'

/** A publisher's score with every observation behind it; asked for only while somebody looks. */
export function useTrust(publisher: MaybeRefOrGetter<string>, enabled: MaybeRefOrGetter<boolean>) {
  return useQuery({
    queryKey: computed(() => keys.trust(toValue(publisher))),
    queryFn: ({ signal }) => rpc('trust.show', { publisher: toValue(publisher) }, signal),
    enabled: computed(() => toValue(enabled)),
  })
}

export function usePolicy() {
  return useQuery({ queryKey: keys.policy, queryFn: ({ signal }) => rpc('policy.show', {}, signal) })
}

export function useReviewers() {
  return useQuery({ queryKey: keys.reviewers, queryFn: ({ signal }) => rpc('trust.reviewers', {}, signal) })
}

/** What is said of publishers changes scores, and with them the store, its pages and the policy's lists. */
function useWord<P, R>(call: (params: P) => Promise<R>) {
  const client = useQueryClient()
  return useMutation({
    mutationFn: call,
    onSettled: () =>
      Promise.all(
        [keys.store, keys.trusts, keys.policy, keys.reviewers].map((queryKey) =>
          client.invalidateQueries({ queryKey }),
        ),
      ),
  })
}

export function usePin() {
  return useWord((params: PinParams) => rpc('trust.pin', params))
}

export function useBlock() {
  return useWord((params: BlockParams) => rpc('trust.block', params))
}

export function useReport() {
  return useWord((params: ReportParams) => rpc('trust.report', params))
}

export function useVouch() {
  return useWord((params: VouchParams) => rpc('trust.vouch', params))
}

export function useSetPolicy() {
  return useWord((policy: Policy) => rpc('policy.set', policy))
}

export function useSetReviewer() {
  return useWord((params: ReviewerParams) => rpc('trust.reviewer', params))
}
