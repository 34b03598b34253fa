import { expect } from 'chai';
import { parseOptions, UsageError } from '../../examples/pc/options.js';

describe('pc: the command line', () => {
  it('has QEMU’s habits: one dash or two, values that begin with one', () => {
    const options = parseOptions([
      '-kernel',
      'bzImage',
      '--initrd',
      'rd',
      '-append',
      '-v console=ttyS0',
      '-m',
      '512',
      '-nographic',
      '-no-reboot',
    ]);
    expect(options).to.include({
      kernel: 'bzImage',
      initrd: 'rd',
      append: '-v console=ttyS0',
      memory: 2 ** 29,
      reboot: false,
    });
    expect(parseOptions(['--kernel=a', '-append=b=c'])).to.include({ kernel: 'a', append: 'b=c' });
  });

  it('has defaults', () => {
    expect(parseOptions([])).to.deep.include({
      memory: 2 ** 27,
      processors: 1,
      device: 'auto',
      vendor: 'amd',
      serials: ['mon:stdio'],
      drives: [],
      reboot: true,
      kernel: undefined,
    });
  });

  it('takes sizes of memory', () => {
    const memory = (text: string): number => parseOptions(['-m', text]).memory;
    expect(['64M', '1g', 'size=2G', '65536k'].map(memory)).to.deep.equal([2 ** 26, 2 ** 30, 2 ** 31, 2 ** 26]);
    for (const text of ['', 'x', '1', '-5', '1T', '100G']) expect(() => memory(text), text).to.throw(UsageError, /-m/);
  });

  it('takes network cards and the address of the page', () => {
    const { nics } = parseOptions([
      '-nic',
      'user,model=virtio',
      '-nic',
      'socket,udp=10.0.0.1:5000,localaddr=:5001',
      '-nic',
      'none',
    ]);
    expect(nics.map(({ network }) => network)).to.deep.equal([
      { kind: 'user' },
      { kind: 'socket', udp: { host: '10.0.0.1', port: 5000 }, local: { host: '127.0.0.1', port: 5001 } },
    ]);
    expect(nics.map(({ mac }) => mac[5])).to.deep.equal([0x56, 0x57]);
    const web = (text: string) => parseOptions(['--web', text]).web;
    expect(web('8080')).to.deep.equal({ host: '127.0.0.1', port: 8080 });
    expect(web('[::]:0')).to.deep.equal({ host: '::', port: 0 });
  });

  it('takes numbers of processors', () => {
    const processors = (text: string): number => parseOptions(['-smp', text]).processors;
    expect(['3', 'cpus=4', '8,sockets=2', 'sockets=2,cores=2,threads=2'].map(processors)).to.deep.equal([3, 4, 8, 8]);
  });

  it('takes drives, and serial ports in their order', () => {
    const options = parseOptions([
      '-hda',
      'a.img',
      '-drive',
      'file=b.img,if=virtio,readonly=on,format=raw',
      '-serial',
      'null',
      '-serial',
      'tcp::4444,server',
    ]);
    expect(options.drives).to.deep.equal([
      { file: 'a.img', interface: 'ide', readOnly: false },
      { file: 'b.img', interface: 'virtio', readOnly: true },
    ]);
    expect(options.serials).to.deep.equal(['null', 'tcp::4444,server']);
  });

  it('tells hypervisors and devices of the guest apart', () => {
    const options = parseOptions(['--device', 'mock', '-device', 'isa-debug-exit,iobase=0xf4,iosize=4']);
    expect(options).to.deep.include({ device: 'mock', debugExit: { base: 0xf4, length: 4 } });
  });

  it('says what it does not understand', () => {
    const cases: [string[], RegExp][] = [
      [['-frobnicate'], /-frobnicate is no option/],
      [['bzImage'], /bzImage is no option/],
      [['-kernel'], /-kernel needs a value/],
      [['-smp', '0'], /-smp 0: a number of processors/],
      [['-smp', '1000'], /from 1 to 64/],
      [['-smp', 'many'], /-smp many/],
      [['-smp', 'cpus=2,hyper=1'], /hyper/],
      [['--device', 'kvm'], /kvm/],
      [['--vendor', 'cyrix'], /amd or intel/],
      [['-drive', 'if=ide'], /file=/],
      [['-drive', 'file=a,format=qcow2'], /raw/],
      [['-drive', 'file=a,cache'], /NAME=VALUE/],
      [['-drive', 'file=a,colour=red'], /colour/],
      [['--flat', 'here'], /--flat/],
      [['-nic', 'tap'], /user or socket/],
      [['-nic', 'user,mac=12'], /address of a card/],
      [['-nic', 'user,mac=01:00:00:00:00:00'], /address of a card/],
      [['-nic', 'socket,udp=:1'], /localaddr=HOST:PORT/],
      [['-nic', 'user,model=e1000'], /virtio/],
      [['--web', '70000'], /HOST:PORT/],
      [['--unpack=yes'], /unpack/],
    ];
    for (const [args, message] of cases) expect(() => parseOptions(args), args.join(' ')).to.throw(UsageError, message);
  });
});
