import { queryOptions, useMutation, useQuery, useQueryClient } from '@tanstack/vue-query'
import { claim, fetchSession, login, logout } from '../client'
import { keys } from '../keys'

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

export function useClaim() {
  const client = useQueryClient()
  return useMutation({
    mutationFn: claim,
    onSuccess: (session) => client.setQueryData(keys.session, session),
  })
}

export function useLogin() {
  const client = useQueryClient()
  return useMutation({
    mutationFn: login,
    onSuccess: (session) => client.setQueryData(keys.session, session),
  })
}

export function useLogout() {
  const client = useQueryClient()
  return useMutation({
    mutationFn: logout,
    onSuccess: async () => {
      const session = await fetchSession()
      client.clear()
      client.setQueryData(keys.session, session)
    },
  })
}
