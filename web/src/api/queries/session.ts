import { type QueryClient, queryOptions, useMutation, useQuery, useQueryClient } from '@tanstack/vue-query'
import { claim, fetchSession, login, logout } from '../client'
import { keys } from '../keys'
import type { Session } from '../types/Session'

export const sessionQuery = queryOptions({
  queryKey: keys.session,
  queryFn: ({ signal }) => fetchSession(signal),
  staleTime: Infinity,
  gcTime: Infinity,
  retry: 1,
})

export function useSession() {
  return useQuery(sessionQuery)
}

/** Puts in what is known now; an older question that is still on its way must not overwrite it. */
async function putSession(client: QueryClient, session: Session): Promise<void> {
  await client.cancelQueries({ queryKey: keys.session })
  client.setQueryData(keys.session, session)
}

export function useClaim() {
  const client = useQueryClient()
  return useMutation({
    mutationFn: claim,
    onSuccess: (session) => putSession(client, session),
  })
}

export function useLogin() {
  const client = useQueryClient()
  return useMutation({
    mutationFn: login,
    onSuccess: (session) => putSession(client, session),
  })
}

export function useLogout() {
  const client = useQueryClient()
  return useMutation({
    mutationFn: logout,
    onSuccess: async () => {
      // The shell watches the session: it ends the stream of events, and stays itself.
      await putSession(client, await fetchSession())
      client.removeQueries({ predicate: ({ queryKey }) => queryKey[0] !== keys.session[0] })
      client.getMutationCache().clear()
    },
  })
}
