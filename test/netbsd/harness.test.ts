// The harness, with programs in the place of QEMU, ssh and what NetBSD has: ssh runs the command on this host, in a folder that
// stands for the machine; a QEMU that is switched off by a file.
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { node, type Ended } from '../support/child.js';

describe('the NetBSD harness', function () {
  this.timeout(180_000);
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'nvmm-harness-'));
    mkdirSync(join(folder, 'bin'));
    mkdirSync(join(folder, 'home'));
    program('qemu', `echo "$@" > ${folder}/qemu-arguments; while [ ! -e ${folder}/off ]; do sleep 0.1; done`);
    // The first time nobody answers, as while a machine boots.
    program(
      'ssh',
      `[ -e ${folder}/booted ] || { touch ${folder}/booted; exit 255; }
for command; do :; done
cd ${folder}/home && PATH=${folder}/bin:$PATH exec sh -c "$command"`,
    );
    program('shutdown', `touch ${folder}/off`);
    for (const name of ['modload', 'npm', 'npx', 'uname']) program(name, `echo "${name} $*" >> ${folder}/log`);
    program('node', `echo "node $*" >> ${folder}/log; echo v20.0.0`);
  });
  afterEach(() => {
    rmSync(folder, { recursive: true });
  });

  function program(name: string, text: string): void {
    const path = join(folder, 'bin', name);
    writeFileSync(path, `#!/bin/sh\n${text}\n`);
    chmodSync(path, 0o755);
  }

  const harness = (options: Record<string, string> = {}): Promise<Ended> => {
    const bin = (name: string): string => join(folder, 'bin', name);
    const all = { image: 'disk.img', qemu: `${bin('qemu')} -m 1G`, ssh: bin('ssh'), ...options };
    return node(['dist/test/netbsd/run.js', ...Object.entries(all).map(([name, value]) => `--${name}=${value}`)]);
  };

  it('boots, waits, copies, installs, runs everything and switches off', async () => {
    const { status, stdout, stderr } = await harness();
    expect(status, stderr).to.equal(0);
    expect(stdout).to.include('== The tarball in an empty project').and.include('== All passed');
    expect(readFileSync(join(folder, 'qemu-arguments'), 'utf8')).to.equal(
      '-m 1G -drive file=disk.img,if=virtio,snapshot=on -nic user,model=virtio-net-pci,hostfwd=tcp:127.0.0.1:2222-:22 -display none\n',
    );
    const log = readFileSync(join(folder, 'log'), 'utf8').trimEnd().split('\n');
    expect(log.filter((line) => !/^(uname|node --version)/.test(line))).to.deep.equal([
      'modload nvmm',
      'npm install --no-audit --no-fund ../nvmm.tgz',
      'node program.mjs',
      'npx nvmm identify --device auto',
      'npx nvmm selftest --device auto',
      'npm ci --no-audit --no-fund',
      'npm test',
    ]);
    const inside = (path: string): string => join(folder, 'home', 'nvmm-test', path);
    expect(readFileSync(inside('nvmm.tgz')).subarray(0, 2)).to.deep.equal(Buffer.from([0x1f, 0x8b]));
    expect(existsSync(inside('sources/package.json'))).to.equal(true);
    expect(readFileSync(inside('project/program.mjs'), 'utf8')).to.include("from 'nvmm'");
    expect(existsSync(join(folder, 'off'))).to.equal(true);
  });

  it('fails when the suite fails, and switches off all the same', async () => {
    program('npm', '[ "$1" != test ]');
    const { status, stdout } = await harness();
    expect(status).to.equal(1);
    expect(stdout).not.to.include('All passed');
    expect(existsSync(join(folder, 'off'))).to.equal(true);
  });

  it('says that QEMU has ended, or that nobody can log in', async () => {
    program('ssh', 'exit 255');
    expect((await harness({ qemu: join(folder, 'nowhere') })).stderr).to.match(/QEMU ended .*ENOENT/);
    program('qemu', 'exit 3');
    expect((await harness()).stderr).to.include('QEMU ended before anybody could log in: status 3.');
    program('qemu', 'exec sleep 1');
    expect((await harness({ boot: '0' })).stderr).to.include('Nobody can log in after 0 s');
  });

  it('needs an image', async () => {
    const { status, stderr } = await node(['dist/test/netbsd/run.js']);
    expect([status, stderr]).to.deep.equal([
      2,
      'test:netbsd: --image FILE names the NetBSD disk (--help shows the rest).\n',
    ]);
  });
});
