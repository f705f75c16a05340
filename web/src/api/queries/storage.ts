import { useMutation, useQuery, useQueryClient } from '@tanstack/vue-query'
import { rpc } from '../client'
import { keys } from '../keys'

/** How often to look again, in milliseconds: while a check is under way, and else. */
const CHECKING_MS = 1_000
const USUALLY_MS = 30_000

/** What downloads take. Nobody announces how far a check is, nor that something was removed. */
export function useStorage() {
  return useQuery({
    queryKey: keys.storage,
    queryFn: ({ signal }) => rpc('storage.show', {}, signal),
    refetchInterval: ({ state }) => (state.data?.fsck?.running === true ? CHECKING_MS : USUALLY_MS),
  })
}

/** Begins a check of everything, or ends the one under way. */
export function useCheckStorage() {
  const client = useQueryClient()
  return useMutation({
    mutationFn: (stop: boolean) => rpc('storage.fsck', { stop }),
    onMutate: () => client.cancelQueries({ queryKey: keys.storage }),
    onSuccess: (page) => client.setQueryData(keys.storage, page),
  })
}
