// Guests that nobody here wrote: files of Debian packages, fetched with apt into a cache outside of the repository. Where
// that can't be, the tests that want them are skipped, by name.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** NVMM_GUESTS, or a folder of the user's cache. */
const cache =
  process.env['NVMM_GUESTS'] ?? join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'nvmm-guests');

const run = (command: string, args: string[], cwd?: string): string =>
  execFileSync(command, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
    ...(cwd === undefined ? {} : { cwd }),
  });

/** The folder with the unpacked content of a Debian package; undefined where it can't be had. */
export function debianPackage(name: string): string | undefined {
  const folder = join(cache, name);
  if (existsSync(folder)) return folder;
  const fresh = `${folder}.${process.pid}`;
  try {
    mkdirSync(fresh, { recursive: true });
    run('apt-get', ['download', name], fresh);
    const archive = readdirSync(fresh).find((file) => file.endsWith('.deb'));
    if (archive === undefined) return undefined;
    run('dpkg-deb', ['-x', join(fresh, archive), fresh]);
    renameSync(fresh, folder);
    return folder;
  } catch {
    return undefined;
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
}

/** The folder of Debian's kernel for virtual machines, and its release. */
export function cloudKernel(): { folder: string; release: string } | undefined {
  try {
    const [, release] =
      /^ *Depends: linux-image-(\S+)/m.exec(run('apt-cache', ['depends', 'linux-image-cloud-amd64'])) ?? [];
    const folder = release === undefined ? undefined : debianPackage(`linux-image-${release}`);
    return folder === undefined || release === undefined ? undefined : { folder, release };
  } catch {
    return undefined;
  }
}

/** Modules of a kernel and all that they need, in the order in which they can be inserted. */
export function kernelModules(
  { folder, release }: { folder: string; release: string },
  names: readonly string[],
): ArchiveFile[] {
  const root = join(folder, 'lib/modules', release);
  const paths = new Map(
    readdirSync(root, { recursive: true, encoding: 'utf8' }).flatMap((path) => {
      const [, name] = /([^/]+)\.ko$/.exec(path) ?? [];
      return name === undefined ? [] : [[name.replaceAll('-', '_'), path] as const];
    }),
  );
  const modules = new Map<string, ArchiveFile>();
  const add = (name: string): void => {
    const path = paths.get(name.replaceAll('-', '_'));
    if (path === undefined || modules.has(name)) return; // built in
    const content = readFileSync(join(root, path));
    const [, needed = ''] = /\0depends=([^\0]*)\0/.exec(content.toString('latin1')) ?? [];
    for (const other of needed.split(',')) if (other !== '') add(other);
    modules.set(name, { path: `modules/${name}.ko`, content });
  };
  names.forEach(add);
  return [...modules.values()];
}

/** A file of a package; undefined where the package can't be had. */
export function packageFile(name: string, path: string): Buffer | undefined {
  const folder = debianPackage(name);
  return folder === undefined ? undefined : readFileSync(join(folder, path));
}

/** A file for a RAM disk. */
export interface ArchiveFile {
  readonly path: string;
  readonly content?: Uint8Array | string;
  /** Type and permissions; an executable file unless given. */
  readonly mode?: number;
}

const DIRECTORY = 0o040755;
const EXECUTABLE = 0o100755;

/** An archive as the kernel unpacks it into its first file system: cpio, in the "newc" form. */
export function archive(files: readonly ArchiveFile[]): Buffer {
  const folders = new Set(
    files.flatMap(({ path }) =>
      path
        .split('/')
        .slice(0, -1)
        .map((_, i, parts) => parts.slice(0, i + 1).join('/')),
    ),
  );
  const entries = [
    ...[...folders].map((path) => ({ path, mode: DIRECTORY })),
    ...files,
    { path: 'TRAILER!!!', mode: 0 },
  ];
  return Buffer.concat(entries.flatMap((entry, index) => cpioEntry(entry, index + 1)));
}

function cpioEntry({ path, content = '', mode = EXECUTABLE }: ArchiveFile, inode: number): Buffer[] {
  const data = Buffer.from(content);
  const numbers = [inode, mode, 0, 0, 1, 0, data.length, 0, 0, 0, 0, path.length + 1, 0];
  const header = `070701${numbers.map((number) => number.toString(16).padStart(8, '0')).join('')}${path}\0`;
  return [padded(Buffer.from(header)), padded(data)];
}

const padded = (bytes: Buffer): Buffer => Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);

/** A RAM disk with busybox under the usual names, whose init runs `script` after /proc and /dev are there. */
export function busyboxArchive(busybox: Uint8Array, script: string, more: readonly ArchiveFile[] = []): Buffer {
  const init = `#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /bin /tmp
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
${script}
`;
  return archive([{ path: 'bin/busybox', content: busybox }, { path: 'init', content: init }, ...more]);
}
