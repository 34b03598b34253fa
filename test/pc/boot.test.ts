// Guests that nobody here wrote, started with the command: on the software device they must come as far as on hardware.
import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Image } from '../../examples/pc/loaders/image.js';
import { extractVmlinux } from '../../examples/pc/loaders/linux.js';
import { Console } from './console.js';
import { busyboxArchive, cloudKernel, debianPackage, kernelModules, packageFile } from './guests.js';

const PROMPT = '/ # ';

/** Describes a group of tests for which packages are needed; skipped by name where they can't be had. */
function describeWith<T>(title: string, find: () => T | undefined, suite: (found: T) => void): void {
  const found = find();
  if (found === undefined) describe.skip(`${title} (Debian's packages can't be had here)`, () => it('needs them'));
  else {
    describe(title, function () {
      this.timeout(300_000);
      suite(found);
    });
  }
}

let folder: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'nvmm-pc-'));
});
after(() => {
  rmSync(folder, { recursive: true });
});

function file(name: string, content: Uint8Array | string): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

/** The TSC of the mock has 1 GHz: the kernel need not measure it, which goes wrong on a busy host. */
const COMMON = 'console=ttyS0 nokaslr reboot=t panic=-1 cryptomgr.notests tsc_early_khz=1000000';
/** A PC of old: no APIC, no ACPI. */
const COMMAND_LINE = `${COMMON} noapic nolapic acpi=off`;

describeWith(
  'pc: Linux',
  () => {
    const kernel = cloudKernel();
    const busybox = packageFile('busybox-static', 'bin/busybox');
    if (kernel === undefined || busybox === undefined) return undefined;
    return { kernel, busybox, bzImage: join(kernel.folder, `boot/vmlinuz-${kernel.release}`) };
  },
  ({ kernel, busybox, bzImage }) => {
    const linux = (image: string, initrd: string, append: string, ...more: string[]): Console =>
      new Console(
        ...['--device', 'mock', '-m', '256', '-no-reboot', '-kernel', image, '-initrd', initrd],
        ...['-append', `${COMMAND_LINE} ${append}`, ...more],
      );
    let initrd: string;
    before(() => {
      initrd = file('initrd', busyboxArchive(busybox, 'exec setsid cttyhack sh'));
    });

    /** A user who looks around and switches the machine off. */
    async function session(guest: Console): Promise<void> {
      await guest.until(PROMPT, 200);
      guest.type('uname -r; echo $((6 * 7))\n');
      expect(await guest.until(PROMPT))
        .to.include(kernel.release)
        .and.match(/^42\r?$/m);
      guest.type('sleep 1; cat /proc/uptime /proc/interrupts\n');
      const text = await guest.until(PROMPT);
      expect(Number(/^(\d+)\./m.exec(text)?.[1])).to.be.at.least(1);
      expect(text).to.match(/ 4: +\d+ +XT-PIC +ttyS0/);
      guest.type('poweroff -f\n');
      expect(await guest.ended()).to.equal(0);
    }

    it('from a bzImage: to a shell, commands, and off', async () => {
      using guest = linux(bzImage, initrd, 'pci=off');
      await session(guest);
    });

    it('from the vmlinux inside, through PVH', async () => {
      using guest = linux(bzImage, initrd, 'pci=off', '--unpack');
      await session(guest);
    });

    it('from the vmlinux inside, through the 64-bit boot protocol', async () => {
      const vmlinux = Buffer.from(extractVmlinux(new Image('bzImage', readFileSync(bzImage))).bytes);
      for (let at = vmlinux.indexOf('Xen\0'); at >= 0; at = vmlinux.indexOf('Xen\0', at + 1)) vmlinux.write('xen', at);
      using guest = linux(file('vmlinux', vmlinux), initrd, 'pci=off');
      await session(guest);
    });

    it('from a bzImage through the 32-bit boot protocol, on the Intel flavour', async () => {
      const image = readFileSync(bzImage);
      image.writeUInt16LE(image.readUInt16LE(0x236) & ~1, 0x236); // there is no 64-bit entry
      using guest = linux(file('bzImage32', image), initrd, 'pci=off', '--vendor', 'intel');
      await session(guest);
    });

    for (const [how, ...options] of [
      ['in turns', '--vendor', 'amd'],
      ['each on a thread', '--vendor', 'intel', '--threads'],
    ] as const) {
      it(`on two processors, ${how}, with APICs and ACPI, which switches off`, async () => {
        using guest = new Console(
          ...['--device', 'mock', '-m', '256', '-smp', '2', '-no-reboot', '-kernel', bzImage, '-initrd', initrd],
          ...['-append', `${COMMON} tsc=reliable`, '--unpack', ...options],
        );
        await guest.until(PROMPT, 250);
        guest.type('nproc; sleep 1; cat /proc/interrupts; dmesg | grep -c "ACPI.*Error"\n');
        const text = await guest.until(PROMPT);
        expect(text)
          .to.match(/^2\r?$/m)
          .and.match(/^0\r?$/m);
        expect(text).to.match(/LOC: +[1-9]\d* +[1-9]\d* /);
        expect(text).to.match(/ 4: .*IO-APIC +4-edge +ttyS0/);
        // Work for both at once, with interrupts between them.
        guest.type('for i in 0 1; do taskset $((1 << i)) sh -c "md5sum /bin/busybox"; done | sort -u | wc -l\n');
        expect(await guest.until(PROMPT)).to.match(/^1\r?$/m);
        guest.type('poweroff -f\n');
        expect(await guest.ended()).to.equal(0);
        expect(guest.text).to.include('reboot: Power down');
      });
    }

    it('with a network card: an address by DHCP, and pings', async () => {
      const modules = kernelModules(kernel, ['virtio_pci', 'virtio_net']);
      const script = `${modules.map(({ path }) => `insmod /${path}`).join('\n')}
ifconfig eth0 up
udhcpc -i eth0 -n -q -s /dhcp
exec setsid cttyhack sh`;
      const dhcp = '#!/bin/sh\n[ "$1" = bound ] && ifconfig $interface $ip netmask $subnet\n';
      const image = file('initrd-net', busyboxArchive(busybox, script, [...modules, { path: 'dhcp', content: dhcp }]));
      using guest = linux(bzImage, image, '', '--unpack', '-nic', 'user,mac=52:54:00:ab:cd:ef');
      await guest.until(PROMPT, 250);
      guest.type('ifconfig eth0; ping -c 2 10.0.2.2; ping -c 1 -W 1 10.0.2.9\n');
      const text = await guest.until(PROMPT);
      expect(text)
        .to.match(/HWaddr 52:54:00:AB:CD:EF/)
        .and.match(/inet addr:10\.0\.2\.15 .*Mask:255\.255\.255\.0/);
      expect(text)
        .to.match(/2 packets transmitted, 2 packets received/)
        .and.match(/1 packets transmitted, 0 packets received/);
      guest.type('poweroff -f\n');
      expect(await guest.ended()).to.equal(0);
    });

    it('with disks and a console: virtio and IDE', async () => {
      const modules = kernelModules(kernel, ['virtio_pci', 'virtio_blk', 'virtio_console', 'ata_piix', 'sd_mod']);
      const script = `${modules.map(({ path }) => `insmod /${path}`).join('\n')}\nexec setsid cttyhack sh`;
      const disks = file('initrd-disks', busyboxArchive(busybox, script, modules));
      const content = Buffer.from(Array.from({ length: 2 ** 20 }, (_, i) => (i * 7 + (i >> 9)) & 0xff));
      const [virtio, ide] = [file('virtio.img', content), file('ide.img', content)];
      const hvc = join(folder, 'hvc');
      using guest = linux(
        bzImage,
        disks,
        '',
        ...['--unpack', '-drive', `file=${virtio},if=virtio`, '-hda', ide, '-virtioconsole', `file:${hvc}`],
      );
      await guest.until(PROMPT, 200);
      guest.type('cmp -s /dev/vda /dev/sda && echo same$((1))\n');
      await guest.until('same1');
      for (const disk of ['/dev/vda', '/dev/sda']) {
        guest.type(`echo written to ${disk} | dd of=${disk} bs=512 seek=5 conv=sync,fsync; echo done$((1))\n`);
        await guest.until('done1');
      }
      guest.type('echo through virtio > /dev/hvc0; poweroff -f\n');
      expect(await guest.ended()).to.equal(0);
      for (const [path, disk] of [
        [virtio, '/dev/vda'],
        [ide, '/dev/sda'],
      ] as const) {
        const now = readFileSync(path);
        expect(now.toString('latin1', 5 * 512, 5 * 512 + 19)).to.equal(`written to ${disk}`.padEnd(19, '\n'));
        expect(now.subarray(6 * 512).equals(content.subarray(6 * 512)), 'the rest').to.equal(true);
      }
      expect(readFileSync(hvc, 'latin1')).to.match(/^through virtio\r?\n$/);
    });
  },
);

const firmware = (name: string, path: string): string | undefined => {
  const found = debianPackage(name);
  return found === undefined ? undefined : join(found, path);
};

describeWith(
  'pc: SeaBIOS',
  () => {
    const folderOfBios = debianPackage('seabios');
    return folderOfBios === undefined ? undefined : join(folderOfBios, 'usr/share/seabios');
  },
  (seabios) => {
    const start = (...more: string[]): Console =>
      new Console(
        ...['--device', 'mock', '-no-reboot', '-bios', join(seabios, 'bios-256k.bin')],
        ...['-vgabios', join(seabios, 'vgabios-isavga.bin'), ...more],
      );

    it('finds its devices, and no disk to boot from', async () => {
      const log = join(folder, 'debug');
      using guest = start('-m', '64', '-debugcon', `file:${log}`);
      await guest.screenUntil(/No bootable device/);
      guest.type('\x01x');
      expect(await guest.ended()).to.equal(0);
      const text = readFileSync(log, 'latin1');
      expect(text).to.include('0000000000100000 - 0000000003fff000 = 1 RAM').and.include('PS2 keyboard initialized');
      expect(text).to.include('Found 1 serial ports').and.include('Start SeaVGABIOS');
    });

    it('boots GRUB from an IDE disk, which has a shell', async function () {
      const [images, tools] = [debianPackage('grub-pc-bin'), debianPackage('grub-common')];
      if (images === undefined || tools === undefined) {
        this.skip();
        return;
      }
      const modules = join(images, 'usr/lib/grub/i386-pc');
      const config = file('grub.cfg', 'serial\nterminal_input serial\nterminal_output serial\n');
      const core = join(folder, 'core.img');
      execFileSync(join(tools, 'usr/bin/grub-mkimage'), [
        ...['-d', modules, '-O', 'i386-pc', '-p', '/', '-c', config, '-o', core],
        ...['serial', 'biosdisk', 'terminal', 'ls', 'lsmmap', 'reboot', 'normal'],
      ]);
      const disk = Buffer.alloc(2 ** 20);
      disk.set(readFileSync(join(modules, 'boot.img')));
      disk.set(readFileSync(core), 512);
      using guest = start('-m', '64', '-hda', file('grub.img', disk));
      await guest.until('grub>');
      guest.type('ls\r');
      await guest.until('(hd0)');
      guest.type('lsmmap\r');
      await guest.until('length = 0x3eff000, available RAM');
      guest.type('reboot\r');
      expect(await guest.ended()).to.equal(0);
    });

    it('boots iPXE from a disk', async function () {
      const iso = firmware('ipxe', 'usr/lib/ipxe/ipxe.iso');
      if (iso === undefined) {
        this.skip();
        return;
      }
      using guest = start('-m', '64', '-drive', `file=${iso},readonly=on`);
      await guest.screenUntil(/ISOLINUX[^]*iPXE initialising devices/, 200);
    });

    it('starts iPXE as a kernel, through its real-mode code', async function () {
      const kernel = firmware('ipxe', 'boot/ipxe.lkrn');
      if (kernel === undefined) {
        this.skip();
        return;
      }
      using guest = start('-m', '64', '-kernel', kernel, '-append', 'ignored');
      await guest.screenUntil(/iPXE .* -- Open Source Network Boot Firmware/, 250);
    });

    it('starts Linux through its real-mode code, with a RAM disk', async function () {
      const kernel = cloudKernel();
      const busybox = packageFile('busybox-static', 'bin/busybox');
      if (kernel === undefined || busybox === undefined) {
        this.skip();
        return;
      }
      const initrd = file('initrd-off', busyboxArchive(busybox, 'echo the end\npoweroff -f'));
      using guest = start(
        ...['-m', '256', '-kernel', join(kernel.folder, `boot/vmlinuz-${kernel.release}`), '-initrd', initrd],
        ...['-append', `${COMMAND_LINE} pci=off`],
      );
      await guest.until('the end', 200);
      expect(await guest.ended()).to.equal(0);
    });
  },
);

describeWith(
  'pc: U-Boot',
  () => firmware('u-boot-qemu', 'usr/lib/u-boot'),
  (uBoot) => {
    for (const [architecture, bits] of [
      ['x86', 32],
      ['x86_64', 64],
    ] as const) {
      it(`comes to its prompt, ${bits} bits`, async () => {
        using guest = new Console(
          ...['--device', 'mock', '-m', '256', '-no-reboot', '-bios', join(uBoot, `qemu-${architecture}/u-boot.rom`)],
        );
        await guest.until('=> ', 120);
        guest.type('echo it ${arch} works\n');
        await guest.until('it x86 works');
        guest.type('reset\n');
        expect(await guest.ended()).to.equal(0);
      });
    }
  },
);

describeWith(
  'pc: Memtest86+',
  () => firmware('memtest86+', 'boot'),
  (memtest) => {
    for (const variant of ['x64', 'ia32']) {
      it(`tests memory, ${variant}`, async () => {
        using guest = new Console(
          ...['--device', 'mock', '-m', '16', '-kernel', join(memtest, `memtest86+${variant}.bin`)],
        );
        const screen = await guest.screenUntil(/Memtest86\+[^]*Status: Testing/, 120);
        expect(screen).to.match(/Memory +: +16MB/);
      });
    }
  },
);

describe('pc: the command', () => {
  it('starts anew after a reset, unless told not to; Ctrl-A x ends it', async () => {
    // mov dx,0x3f8; mov al,'x'; out dx,al; mov al,1; out 0x92,al; hlt
    const kernel = file('reset', Buffer.from('baf803b078eeb001e692f4', 'hex'));
    const args = ['--device', 'mock', '-m', '2', '-kernel', kernel, '--flat', '0x7c00'];
    using once = new Console(...args, '-no-reboot', '--stats');
    expect(await once.ended()).to.equal(0);
    expect(once.text).to.match(/^x.*\d+ IO/);
    using again = new Console(...args);
    await again.until('xxx');
    again.type('\x01x');
    expect(await again.ended()).to.equal(0);
  });

  it('ends with the status that the guest asks for', async () => {
    // mov dx,0xf4; mov al,0x10; out dx,al; hlt
    const kernel = file('exit', Buffer.from('baf400b010eef4', 'hex'));
    using guest = new Console(
      ...['--device', 'mock', '-kernel', kernel, '--flat', '0x8000', '-device', 'isa-debug-exit,iobase=0xf4,iosize=4'],
    );
    expect(await guest.ended()).to.equal(33);
  });
});

describe('pc: what goes wrong is said', () => {
  const cases: [string, string[], RegExp][] = [
    ['a missing file', ['-kernel', '/nonexistent'], /pc: .*ENOENT.*\/nonexistent/],
    ['no kernel', ['-kernel', process.execPath, '-m', '16'], /pc: .*(PC|memory|processor|note)/],
    ['a text', ['-kernel', 'package.json'], /pc: package.json: it is no bzImage/],
    ['a machine without processors', ['-smp', '0'], /pc: -smp/],
    ['a missing disk', ['-bios', 'package.json', '-hda', '/nonexistent'], /pc: .*ENOENT/],
    ['a bad BIOS', ['-bios', 'package.json'], /pc: package.json: a BIOS image is a multiple of 64 KiB/],
    ['the kernel’s device where there is none', ['-bios', 'package.json', '--device', 'kernel'], /pc: /],
  ];
  for (const [title, args, message] of cases) {
    it(title, async () => {
      using guest = new Console('--device', 'mock', ...args);
      expect(await guest.ended()).to.equal(1);
      expect(guest.text).to.match(message);
      expect(guest.text, 'no stack trace').to.not.include('    at ');
    });
  }

  it('and -help tells the options', async () => {
    using guest = new Console('-help');
    expect(await guest.ended()).to.equal(0);
    expect(guest.text).to.include('-kernel FILE');
  });
});
