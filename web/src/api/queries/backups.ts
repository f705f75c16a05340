import { useMutation, useQuery, useQueryClient } from '@tanstack/vue-query'
import { computed, type MaybeRefOrGetter, toValue } from 'vue'
import { rpc } from '../client'
import { keys } from '../keys'
import type { BackupInfo } from '../types/BackupInfo'
import type { BackupScheduleParams } from '../types/BackupScheduleParams'
import type { JobRef } from '../types/JobRef'

/** An app's backups, whether or not it is installed. */
export function useBackups(slug: MaybeRefOrGetter<string>) {
  return useQuery({
    queryKey: computed(() => keys.backupsOf(toValue(slug))),
    queryFn: ({ signal }) => rpc('backup.list', { slug: toValue(slug), refresh: false }, signal),
  })
}

function useJobMutation<P>(call: (params: P) => Promise<JobRef>) {
  const client = useQueryClient()
  return useMutation({
    mutationFn: call,
    onSettled: () => client.invalidateQueries({ queryKey: keys.jobs }),
  })
}

export function useBackUp() {
  return useJobMutation((slug: string) => rpc('backup.create', { slug }))
}

export function useRestore() {
  return useJobMutation((backup: string) => rpc('backup.restore', { backup }))
}

export function useVerify() {
  return useJobMutation((backup: string) => rpc('backup.verify', { slug: null, backup }))
}

export function useRemoveBackup() {
  const client = useQueryClient()
  return useMutation({
    mutationFn: ({ id }: BackupInfo) => rpc('backup.remove', { backup: id }),
    onSuccess: (page, { app }) => client.setQueryData(keys.backupsOf(app.slug), page),
  })
}

export function useScheduleBackups() {
  const client = useQueryClient()
  return useMutation({
    mutationFn: (params: BackupScheduleParams) => rpc('backup.schedule', params),
    onSuccess: (page, { slug }) => client.setQueryData(keys.backupsOf(slug), page),
  })
}
