// The command, as a process: what it prints, its exit status, and what it says when something is wrong.
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { expect } from 'chai';
import { NvmmError, type MachineInfo } from 'nvmm';
import { optionsOf } from '../../lib/cli/command.js';
import { COMMANDS } from '../../lib/cli/commands.js';
import { explain } from '../../lib/cli/failure.js';
import { bits, humanSize, parseSize } from '../../lib/cli/output.js';
import { start } from '../support/child.js';
import { MAIN, nvmm, onMock, startNvmm } from './command.js';

describe('nvmm', () => {
  it('without a command shows what there is, as an error', async () => {
    const { status, stdout, stderr } = await nvmm([]);
    expect([status, stdout]).to.deep.equal([2, '']);
    for (const { name } of COMMANDS) expect(stderr).to.match(new RegExp(`^  ${name}\\b`, 'm'));
  });

  it('--help shows the same, and --version the version', async () => {
    expect((await nvmm(['--help'])).stdout).to.equal((await nvmm([])).stderr);
    expect((await nvmm(['--version'])).stdout).to.match(/^\d+\.\d+\.\d+\n$/);
  });

  for (const command of COMMANDS) {
    it(`${command.name} --help names its options`, async () => {
      const { status, stdout, stderr } = await nvmm([command.name, '--help']);
      expect([status, stderr]).to.deep.equal([0, '']);
      const named = [...stdout.matchAll(/^ {2}--(\w+)/gm)].map(([, name]) => name);
      expect(named).to.deep.equal(Object.keys(optionsOf(command)));
      expect(Math.max(...stdout.split('\n').map((line) => line.length))).to.be.at.most(120);
    });
  }

  it('says what is wrong with the arguments, and where help is', async () => {
    for (const [args, complaint] of [
      [['bogus'], 'There is no command "bogus".\nnvmm --help shows'],
      [['list', '--bogus'], "Unknown option '--bogus'.\nnvmm list --help shows"],
      [['list', 'more'], 'list takes no argument "more".\n'],
      [['run'], 'run needs a FILE.\n'],
      [['identify', '--device', 'toaster'], '--device is one of kernel, mock, auto, not "toaster".\n'],
      [['identify', '--device', 'auto', '--vendor', 'amd'], 'add --device mock.\n'],
      [['top', '--interval', 'often'], '--interval is a number from 0.1 to 86400, not "often".\n'],
    ] as const) {
      const { status, stdout, stderr } = await nvmm(args);
      expect([status, stdout], args.join(' ')).to.deep.equal([2, '']);
      expect(stderr).to.include(`nvmm: ${complaint}`.slice(0, 6)).and.include(complaint);
    }
  });

  it('takes the device from NVMM_DEVICE', async () => {
    expect((await nvmm(['identify'], { env: { NVMM_DEVICE: 'mock' } })).stdout).to.include('Device mock');
    const { status, stderr } = await nvmm(['identify'], { env: { NVMM_DEVICE: 'toaster' } });
    expect(status).to.equal(2);
    expect(stderr).to.include('NVMM_DEVICE is one of kernel, mock, auto, not "toaster"');
  });

  it('on a system without NVMM says what to do', async function () {
    if (process.platform === 'netbsd' || existsSync('/dev/nvmm')) this.skip();
    for (const command of ['identify', 'list', 'top', 'selftest']) {
      const { status, stdout, stderr } = await nvmm([command]);
      expect([status, stdout]).to.deep.equal([1, '']);
      expect(stderr).to.equal(
        'nvmm: open /dev/nvmm: ENOENT. NVMM is a part of NetBSD, and this is another system: add --device mock to work with the software device.\n',
      );
    }
  });

  for (const [errno, cure] of [
    ['ENOENT', 'modload nvmm'],
    ['ENXIO', 'modload nvmm'],
    ['ENXIO', 'the CPU lacks what NVMM needs'],
    ['EACCES', 'group nvmm'],
    ['EMFILE', 'ulimit'],
  ] as const) {
    it(`names the cure for ${errno} on NetBSD: ${cure}`, async () => {
      const { status, stdout, stderr } = await onMock(['identify'], { preload: 'failing-open', env: { ERRNO: errno } });
      expect([status, stdout]).to.deep.equal([1, '']);
      expect(stderr).to.include(`open /dev/nvmm: ${errno}. `).and.include(cure);
      expect(stderr.trimEnd().split('\n')).to.have.length(1);
    });
  }

  it('explains a kernel of another version by what the library says', () => {
    const error = new NvmmError('EPROGMISMATCH', 'NVMM_IOC_CAPABILITY', 'The kernel speaks version 3.');
    expect(explain(error, 'netbsd')).to.include('version 3');
    expect(explain(new TypeError('a defect'))).to.equal(undefined);
  });

  it('ends quietly when nobody reads any more', async () => {
    const { child, ended } = startNvmm(['top', '--device', 'mock', '--interval', '0.1']);
    await once(child.stdout, 'data');
    child.stdout.destroy();
    const { status, stderr } = await ended;
    expect([status, stderr]).to.deep.equal([0, '']);
  });
});

describe('nvmm identify', () => {
  it('prints what nvmmctl prints, and the processor', async () => {
    const { stdout } = await onMock(['identify', '--vendor', 'intel']);
    expect(stdout).to.match(
      new RegExp(
        [
          '^nvmm: Kernel API version 2',
          'nvmm: State size 1008',
          'nvmm: Max machines 128',
          'nvmm: Max VCPUs per machine 256',
          'nvmm: Max RAM per machine 128G',
          'nvmm: Arch Mach conf 0',
          'nvmm: Arch VCPU conf 0x3<CPUID,TPR>',
          'nvmm: Guest FPU states 0x3<x87,SSE>',
          'nvmm: Guest CPU .*\\(GenuineIntel, family 0x6, model 0x[0-9a-f]+, stepping \\d+\\)',
          'nvmm: Device mock\n$',
        ].join('\n'),
      ),
    );
    expect((await onMock(['identify'])).stdout)
      .to.include('Arch VCPU conf 0x1<CPUID>')
      .and.include('AuthenticAMD');
  });

  it('needs no machine, except for the processor', async () => {
    const { status, stdout, stderr } = await onMock(['identify'], { preload: 'no-machine-left' });
    expect([status, stderr]).to.deep.equal([0, '']);
    expect(stdout).to.include('Max machines 128').and.include('Guest CPU unknown (all machines are in use)');
  });

  it('--json gives the same as an object', async () => {
    const report = JSON.parse((await onMock(['identify', '--json'])).stdout);
    expect(report).to.nested.include({ device: 'mock', 'capability.maxMachines': 128, 'cpu.vendor': 'AuthenticAMD' });
    expect(report.capability.xcr0Mask).to.equal('0x3');
  });
});

describe('nvmm list', () => {
  it("prints the machines in nvmmctl's columns", async () => {
    const { status, stdout } = await onMock(['list'], { preload: 'two-machines', env: { TZ: 'UTC' } });
    expect(status).to.equal(0);
    const [header, rule, ...lines] = stdout.split('\n');
    expect(header).to.equal('Machine ID VCPUs RAM  Owner PID Creation Time           ');
    expect(rule).to.equal('---------- ----- ---- --------- ------------------------');
    expect(lines).to.have.length(3);
    expect(lines[0]).to.match(/^0 {10}4 {5}2\.0G \d+ +[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}$/);
    expect(lines[1]).to.match(/^1 {10}0 {5}4\.0K /);
    expect(lines[2]).to.equal('');
  });

  it('--json gives them as objects', async () => {
    const { stdout } = await onMock(['list', '--json'], { preload: 'two-machines' });
    const machines = JSON.parse(stdout) as MachineInfo[];
    expect(machines.map(({ id, vcpus, ram }) => [id, vcpus, ram])).to.deep.equal([
      [0, 4, 2 ** 31],
      [1, 0, 4096],
    ]);
    expect(Math.abs(Date.parse(String(machines[0]!.created)) - Date.now())).to.be.below(3600_000);
  });
});

describe('nvmm top', () => {
  it('in a pipe prints one table below the other, with the owners', async () => {
    const { child, ended } = startNvmm(['top', '--device', 'mock', '--count', '2', '--interval', '0.1'], {
      preload: 'two-machines',
    });
    const { status, stdout, stderr } = await ended;
    expect([status, stderr]).to.deep.equal([0, '']);
    expect(stdout).not.to.include('\x1b');
    expect(stdout.match(/machines: 2, VCPUs: 4, RAM: 2\.0G/g)).to.have.length(2);
    const row = new RegExp(`^ *0 +4 +2\\.0G +\\d+s +${child.pid} +[\\d.]+ +\\S`, 'gm');
    expect(stdout.match(row), stdout).to.have.length(2);
  });

  it('--json prints a line for each look', async () => {
    const { stdout } = await onMock(['top', '--json', '--count', '2', '--interval', '0.1'], {
      preload: 'two-machines',
    });
    const looks = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { machines: unknown[] });
    expect(looks.map(({ machines }) => machines.length)).to.deep.equal([2, 2]);
  });

  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    it(`ends cleanly with ${signal}`, async () => {
      const { child, ended } = startNvmm(['top', '--device', 'mock', '--interval', '3600']);
      await once(child.stdout, 'data');
      child.kill(signal);
      const { status, stderr } = await ended;
      expect([status, stderr]).to.deep.equal([0, '']);
    });
  }

  it('on a terminal keeps its place', async function () {
    if (process.platform !== 'linux' || !existsSync('/usr/bin/script')) this.skip();
    const command = `"${process.execPath}" "${MAIN}" top --device mock --count 2 --interval 0.1`;
    const { ended } = start('script', ['-qec', command, '/dev/null']);
    expect(
      (await ended).stdout.split('\x1b[H\x1b[2J').filter((text) => /^\d\d:\d\d:\d\d {2}machines: 0/.test(text)),
    ).to.have.length(2);
  });
});

describe('nvmm selftest', () => {
  it('passes on the mock, and says so by group', async () => {
    const { status, stdout, stderr } = await onMock(['selftest', '--vendor', 'intel']);
    expect(stderr).to.equal('');
    expect(status, stdout).to.equal(0);
    expect(stdout).to.match(/^vendor +group +passed +failed +skipped$/m);
    for (const group of ['golden/events', 'golden/windows', 'library']) {
      expect(stdout).to.match(new RegExp(`^intel +${group} +[1-9]\\d* +0 +\\d+$`, 'm'));
    }
    expect(stdout)
      .to.match(/^\d+ passed, 0 failed, \d+ skipped$/m)
      .and.not.match(/^amd/m);
  });

  it('fails when something differs, and --json tells what', async () => {
    const { status, stdout } = await onMock(['selftest', '--vendor', 'amd', '--json'], { preload: 'failing-check' });
    expect(status).to.equal(1);
    const report = JSON.parse(stdout);
    expect(report.failed).to.equal(1);
    expect(report.system).to.include({ node: process.version });
    expect(report.devices[0]).to.nested.include({ device: 'mock', vendor: 'amd', 'capability.version': 2 });
    expect(report.differences.filter(({ status }: any) => status === 'failed')).to.deep.equal([
      {
        vendor: 'amd',
        group: 'library',
        name: 'a check that fails',
        status: 'failed',
        reasons: ['two and two are four'],
      },
    ]);
  });
});

describe('sizes and bits in the form of NetBSD’s commands', () => {
  it('humanSize takes at most four characters', () => {
    const sizes = [0, 512, 999, 1000, 1024, 10 * 1024, 999 * 1024, 1000 * 1024, 2 ** 21, 2 ** 31, 2 ** 37];
    expect(sizes.map(humanSize)).to.deep.equal('0B 512B 999B 1.0K 1.0K 10K 999K 1.0M 2.0M 2.0G 128G'.split(' '));
  });

  it('bits names those that are set', () => {
    expect(bits(0n, ['A'])).to.equal('0');
    expect(bits(0b101n, ['A', 'B', 'C'])).to.equal('0x5<A,C>');
    expect(bits(8n, ['A'])).to.equal('0x8');
  });

  it('parseSize reads units, and nothing else', () => {
    expect(['4096', '64K', '16m', '2G', '0x1000'].map(parseSize)).to.deep.equal([4096, 65536, 2 ** 24, 2 ** 31, 4096]);
    for (const wrong of ['', '-1', '1T', 'K', '1.5M']) expect(parseSize(wrong)).to.be.NaN;
  });
});
