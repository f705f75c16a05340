import { useMutation, useQuery, useQueryClient } from '@tanstack/vue-query'
import { computed, type MaybeRefOrGetter, toValue } from 'vue'
import { rpc } from '../client'
import { keys } from '../keys'
import type { ConfigureParams } from '../types/ConfigureParams'
import type { InstallParams } from '../types/InstallParams'
import type { JobRef } from '../types/JobRef'
import type { RollbackParams } from '../types/RollbackParams'
import type { UninstallParams } from '../types/UninstallParams'
import type { UpdateParams } from '../types/UpdateParams'

export function useInstances() {
  return useQuery({
    queryKey: keys.instances,
    queryFn: ({ signal }) => rpc('package.list', {}, signal),
    // A stale list is asked for again until podman and systemd answer.
    refetchInterval: (query) => (query.state.data?.stale ? 5_000 : false),
  })
}

function useJobMutation<P>(call: (params: P) => Promise<JobRef>) {
  const client = useQueryClient()
  return useMutation({
    mutationFn: call,
    onSettled: () =>
      Promise.all([
        client.invalidateQueries({ queryKey: keys.jobs }),
        client.invalidateQueries({ queryKey: keys.instances }),
      ]),
  })
}

export function useInstall() {
  return useJobMutation((params: InstallParams) => rpc('package.install', params))
}

export function useUninstall() {
  return useJobMutation((params: UninstallParams) => rpc('package.uninstall', params))
}

export function useUpdate() {
  return useJobMutation((params: UpdateParams) => rpc('package.update', params))
}

export function useRollback() {
  return useJobMutation((params: RollbackParams) => rpc('package.rollback', params))
}

export function useReinstall() {
  return useJobMutation((slug: string) => rpc('package.reinstall', { slug }))
}

export function useConfigure() {
  return useJobMutation((params: ConfigureParams) => rpc('package.configure', params))
}

/** An app's settings, asked for by `refetch` only: what a person edits must not change under them. */
export function useAppSettings(slug: MaybeRefOrGetter<string>) {
  return useQuery({
    queryKey: computed(() => keys.settings(toValue(slug))),
    queryFn: ({ signal }) => rpc('package.settings', { slug: toValue(slug) }, signal),
    enabled: false,
  })
}

export type Power = 'start' | 'stop' | 'restart'

export function usePower() {
  return useJobMutation(({ slug, power }: { slug: string; power: Power }) =>
    rpc(`package.${power}`, { slug }),
  )
}

export function useLogs(options: {
  slug: MaybeRefOrGetter<string>
  container: MaybeRefOrGetter<string | null>
  follow: MaybeRefOrGetter<boolean>
}) {
  return useQuery({
    queryKey: computed(() => ['logs', toValue(options.slug), toValue(options.container)]),
    queryFn: ({ signal }) =>
      rpc(
        'package.logs',
        { slug: toValue(options.slug), container: toValue(options.container), lines: 500 },
        signal,
      ),
    refetchInterval: () => (toValue(options.follow) ? 2_000 : false),
  })
}
