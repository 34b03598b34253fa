import { expect } from 'chai';
import fc from 'fast-check';
import { gzipSync } from 'node:zlib';
import { BOOT, GiB, MiB, memoryMap } from '../../examples/pc/layout.js';
import { loadBios } from '../../examples/pc/loaders/bios.js';
import type { BootRequest } from '../../examples/pc/loaders/boot.js';
import { Image, ImageError } from '../../examples/pc/loaders/image.js';
import { loadKernel } from '../../examples/pc/loaders/kernel.js';
import { extractVmlinux } from '../../examples/pc/loaders/linux.js';
import { lz4Legacy } from '../../examples/pc/loaders/lz4.js';
import { GuestMemory } from '../../examples/pc/memory.js';
import { anyFile, bzImage, CODE, elf, lz4, misconduct, multibootHeader, sized, withPayload } from './images.js';

const RAM = 8 * MiB;

function request(commandLine = '', initrd?: Uint8Array, ram = RAM): BootRequest {
  const memory = new GuestMemory([{ gpa: 0, bytes: new Uint8Array(ram) }]);
  return { memory, ram, commandLine, initrd: initrd === undefined ? undefined : new Image('initrd', initrd) };
}

const image = (bytes: Uint8Array): Image => new Image('kernel', bytes);

function bytes(memory: GuestMemory, gpa: number, length: number): Uint8Array {
  const result = new Uint8Array(length);
  memory.read(gpa, result);
  return result;
}

function text(memory: GuestMemory, gpa: number): string {
  const all = Buffer.from(bytes(memory, gpa, 256));
  return all.subarray(0, all.indexOf(0)).toString();
}

describe('pc: loading a bzImage', () => {
  it('fills the zero page, and enters in 64-bit mode where the kernel can be', () => {
    const boot = request('console=ttyS0 quiet', Uint8Array.of(1, 2, 3));
    const entry = loadKernel(boot, image(bzImage()));
    expect(entry).to.deep.equal({ mode: 'long', rip: 0x200200, registers: { RSI: BOOT.zeroPage } });
    const { memory } = boot;
    expect(bytes(memory, 0x200000, CODE.length)).to.deep.equal(CODE);
    const page = Buffer.from(bytes(memory, BOOT.zeroPage, 4096));
    expect(page.toString('latin1', 0x202, 0x206)).to.equal('HdrS');
    expect(page.readUInt8(0x1ef), 'the sentinel says that the page was cleared').to.equal(0);
    expect(page.readUInt8(0x210)).to.equal(0xff);
    expect(page.readUInt32LE(0x214)).to.equal(0x200000);
    expect(text(memory, page.readUInt32LE(0x228))).to.equal('console=ttyS0 quiet');
    const initrd = page.readUInt32LE(0x218);
    expect(initrd % 4096).to.equal(0);
    expect(bytes(memory, initrd, page.readUInt32LE(0x21c))).to.deep.equal(Uint8Array.of(1, 2, 3));
    expect(initrd).to.be.at.least(0x204000);
    const map = memoryMap(RAM);
    expect(page.readUInt8(0x1e8)).to.equal(map.length);
    map.forEach(({ base, size, type }, i) => {
      const at = 0x2d0 + 20 * i;
      expect([page.readBigUInt64LE(at), page.readBigUInt64LE(at + 8), page.readUInt32LE(at + 16)]).to.deep.equal([
        BigInt(base),
        BigInt(size),
        type,
      ]);
    });
  });

  it('enters in 32-bit mode otherwise, at 1 MiB if it can’t be moved', () => {
    const entry = loadKernel(
      request(),
      image(
        bzImage((file) => {
          file.writeUInt16LE(0x0209, 0x206);
          file.writeUInt8(0, 0x234);
        }),
      ),
    );
    expect(entry).to.deep.equal({ mode: 'protected', rip: 0x100000, registers: { RSI: BOOT.zeroPage } });
  });

  it('keeps the initrd below the kernel’s limit', () => {
    const boot = request('', new Uint8Array(0x3000));
    loadKernel(boot, image(bzImage((file) => file.writeUInt32LE(0x3fffff, 0x22c))));
    expect(boot.memory.readUint32(BOOT.zeroPage + 0x218)).to.equal(0x3fd000);
  });

  it('refuses old kernels, long command lines and too little memory, and says so', () => {
    const attempt = (boot: BootRequest, change?: (file: Buffer) => void) => () =>
      loadKernel(boot, image(bzImage(change)));
    expect(attempt(request(), (file) => file.writeUInt16LE(0x0203, 0x206))).to.throw(ImageError, /too old/);
    expect(attempt(request('x'.repeat(101)))).to.throw(ImageError, /-append.*101.*100/);
    expect(attempt(request(), (file) => file.writeUInt32LE(RAM, 0x260))).to.throw(
      ImageError,
      /too little memory.*10 MiB.*8 MiB.*-m/,
    );
    expect(attempt(request('', new Uint8Array(RAM - 0x203000)))).to.throw(ImageError, /initrd: too little memory/);
    expect(attempt(request(), (file) => file.writeBigUInt64LE(0x8000n, 0x258))).to.throw(ImageError, /0x8000/);
    expect(attempt(request(), (file) => file.writeUInt8(255, 0x1f1))).to.throw(ImageError, /too short/);
  });
});

describe('pc: the vmlinux inside a bzImage', () => {
  it('is unpacked from LZ4 and gzip, and started', () => {
    const vmlinux = elf({ pvh: 0x100020 });
    for (const payload of [sized(lz4(vmlinux), vmlinux.length), gzipSync(vmlinux)]) {
      const file = image(withPayload(payload));
      expect(extractVmlinux(file).bytes).to.deep.equal(new Uint8Array(vmlinux));
      expect(loadKernel(request(), file, { unpack: true }).rip).to.equal(0x100020);
    }
  });

  it('is refused if it is packed otherwise, or damaged', () => {
    const cases: [Uint8Array, RegExp][] = [
      [sized(Buffer.from('\xfd7zXZ\0', 'latin1'), 10), /LZ4 nor/],
      [sized(lz4(CODE), CODE.length), /no ELF/],
      [sized(lz4(CODE), CODE.length + 5), /damaged/],
      [sized(lz4(CODE), 0xffffffff), /claims/],
      [gzipSync(CODE).fill(0x55, 20, 100), /can't be unpacked/],
      [new Uint8Array(2), /too short/],
    ];
    for (const [payload, message] of cases) {
      expect(() => extractVmlinux(image(withPayload(payload)))).to.throw(ImageError, message);
    }
  });
});

describe('pc: LZ4', () => {
  it('unpacks literals and matches that overlap themselves', () => {
    expect(Buffer.from(lz4Legacy(lz4(Buffer.from('ab'), 6), 13)).toString('latin1')).to.equal(
      'abbbbbbb\x01\x02\x03\x04\x05',
    );
    expect(lz4Legacy(lz4(CODE), CODE.length)).to.deep.equal(CODE);
  });

  it('unpacks what the lz4 program packs', () => {
    // printf 'hello hello hello hello' | lz4 -l, and 'abcabc...abc, said the cat'
    const cases = [
      ['02214c180f0000006868656c6c6f2006005068656c6c6f', 'hello hello hello hello'],
      ['02214c18160000003f616263030008e02c20736169642074686520636174', `${'abc'.repeat(10)}, said the cat`],
    ] as const;
    for (const [packed, content] of cases) {
      expect(Buffer.from(lz4Legacy(Buffer.from(packed, 'hex'), content.length)).toString()).to.equal(content);
    }
  });

  it('never reads or writes outside, whatever the data is', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(300), (data, size) => {
        const frame = Buffer.alloc(8);
        frame.writeUInt32LE(0x184c2102);
        frame.writeUInt32LE(data.length, 4);
        try {
          expect(lz4Legacy(Buffer.concat([frame, data]), size)).to.have.length(size);
        } catch (error) {
          expect(error).to.be.instanceOf(ImageError);
        }
      }),
    );
  });
});

describe('pc: loading a vmlinux', () => {
  it('enters through the PVH note, with a start info', () => {
    const boot = request('root=/dev/vda', Uint8Array.of(9, 8, 7));
    const entry = loadKernel(boot, image(elf({ pvh: 0x100040 })));
    expect(entry).to.deep.equal({ mode: 'protected', rip: 0x100040, registers: { RBX: BOOT.startInfo } });
    const { memory } = boot;
    expect(memory.readUint32(BOOT.startInfo)).to.equal(0x336ec578);
    expect(memory.readUint32(BOOT.startInfo + 4)).to.equal(1);
    expect(memory.readUint32(BOOT.startInfo + 12)).to.equal(1);
    const module = memory.readUint64(BOOT.startInfo + 16);
    expect(bytes(memory, memory.readUint64(module), memory.readUint64(module + 8))).to.deep.equal(
      Uint8Array.of(9, 8, 7),
    );
    expect(text(memory, memory.readUint64(BOOT.startInfo + 24))).to.equal('root=/dev/vda');
    const map = memory.readUint64(BOOT.startInfo + 40);
    expect(memory.readUint32(BOOT.startInfo + 48)).to.equal(memoryMap(RAM).length);
    expect([memory.readUint64(map), memory.readUint64(map + 8), memory.readUint32(map + 16)]).to.deep.equal([
      0, 0x9fc00, 1,
    ]);
    expect(bytes(memory, 0x100000 + CODE.length, 1000), 'the rest of the segment').to.deep.equal(new Uint8Array(1000));
  });

  it('enters as the boot protocol says without one', () => {
    expect(loadKernel(request(), image(elf()))).to.deep.equal({
      mode: 'long',
      rip: 0x100010,
      registers: { RSI: BOOT.zeroPage },
    });
    const boot = request('a b');
    expect(loadKernel(boot, image(elf({ bits: 32 }))).mode).to.equal('protected');
    expect(boot.memory.readUint32(BOOT.zeroPage + 0x202)).to.equal(0x53726448);
    expect(text(boot.memory, boot.memory.readUint32(BOOT.zeroPage + 0x228))).to.equal('a b');
  });

  it('refuses what is no kernel for a PC, or has no room', () => {
    const arm = Buffer.from(elf());
    arm.writeUInt16LE(183, 18);
    expect(() => loadKernel(request(), image(arm))).to.throw(ImageError, /another processor/);
    expect(() => loadKernel(request(), image(elf({ memorySize: 100 })))).to.throw(ImageError, /larger in the file/);
    expect(() => loadKernel(request(), image(elf({ address: 0x1000 })))).to.throw(ImageError, /boot information/);
    expect(() => loadKernel(request(), image(elf({ address: 0x9f000, memorySize: 0x2000 })))).to.throw(
      ImageError,
      /no memory/,
    );
    expect(() => loadKernel(request(), image(elf({ memorySize: RAM })))).to.throw(ImageError, /too little memory/);
    expect(() => loadKernel(request(), image(elf({ address: 2 ** 40 })))).to.throw(ImageError, /too little memory/);
  });
});

describe('pc: loading a multiboot kernel', () => {
  it('loads ELF, and describes memory, command line and module', () => {
    const boot = request('kernel arguments', Uint8Array.of(5, 6));
    const entry = loadKernel(boot, image(elf({ bits: 32, multiboot: true })));
    expect(entry).to.deep.equal({
      mode: 'protected',
      rip: 0x100010,
      registers: { RAX: 0x2badb002, RBX: BOOT.multibootInfo },
    });
    const info = Buffer.from(bytes(boot.memory, BOOT.multibootInfo, 0x80));
    expect(info.readUInt32LE(0) & 0x4d).to.equal(0x4d);
    expect([info.readUInt32LE(4), info.readUInt32LE(8)]).to.deep.equal([639, 7 * 1024]);
    expect(text(boot.memory, info.readUInt32LE(16))).to.equal('kernel arguments');
    expect(info.readUInt32LE(20)).to.equal(1);
    const module = info.readUInt32LE(24);
    const start = boot.memory.readUint32(module);
    expect(start % 4096).to.equal(0);
    expect(bytes(boot.memory, start, boot.memory.readUint32(module + 4) - start)).to.deep.equal(Uint8Array.of(5, 6));
    let entries = 0;
    for (let at = 0; at < info.readUInt32LE(44); at += boot.memory.readUint32(info.readUInt32LE(48) + at) + 4)
      entries++;
    expect(entries).to.equal(memoryMap(RAM).length);
  });

  it('loads by the addresses in the header', () => {
    const file = Buffer.alloc(0x300, 0xab);
    multibootHeader(file, 0x100, 0x10003, 0x200000, 0x1fff80, 0x200100, 0x200180, 0x200020);
    const boot = request();
    boot.memory.fill(0x200100, 0x80, 0xff);
    expect(loadKernel(boot, image(file)).rip).to.equal(0x200020);
    expect(bytes(boot.memory, 0x1fff80, 0x180)).to.deep.equal(new Uint8Array(file.subarray(0x80, 0x200)));
    expect(bytes(boot.memory, 0x200100, 0x80), 'its bss').to.deep.equal(new Uint8Array(0x80));
  });

  it('refuses what it can’t do', () => {
    const make = (flags: number, ...addresses: number[]): Image => {
      const file = Buffer.alloc(0x200);
      multibootHeader(file, 0, flags, ...addresses);
      return image(file);
    };
    expect(() => loadKernel(request(), make(0x4))).to.throw(ImageError, /flags 0x4/);
    expect(() => loadKernel(request(), make(0))).to.throw(ImageError, /no ELF/);
    expect(() => loadKernel(request(), make(0x10000, 0x100000, 0x100100, 0, 0, 0))).to.throw(ImageError, /sense/);
    expect(() => loadKernel(request(), make(0x10000, 0x100000, 0x100000, 0x200000, 0, 0))).to.throw(
      ImageError,
      /too short/,
    );
  });
});

describe('pc: loading other images', () => {
  it('puts a flat binary anywhere below 1 MiB', () => {
    const boot = request();
    expect(loadKernel(boot, image(CODE), { flatAddress: 0x7c00 })).to.deep.equal({
      mode: 'real',
      rip: 0x7c00,
      segment: 0,
      registers: {},
    });
    expect(bytes(boot.memory, 0x7c00, CODE.length)).to.deep.equal(CODE);
    expect(loadKernel(boot, image(CODE), { flatAddress: 0x23450 })).to.include({ rip: 0, segment: 0x2345 });
    for (const address of [0x23451, 0x100000, 0x9fc00]) {
      expect(() => loadKernel(boot, image(CODE), { flatAddress: address }), String(address)).to.throw(ImageError);
    }
  });

  it('says what it does not know', () => {
    expect(() => loadKernel(request(), image(CODE))).to.throw(ImageError, /no bzImage, no multiboot.*--flat/);
    expect(() => loadKernel(request(), image(new Uint8Array(0)))).to.throw(ImageError);
  });

  it('puts a BIOS under 4 GiB, and its end under 1 MiB', () => {
    const { memory } = request();
    const bios = new Uint8Array(0x40000).map((_, i) => i >> 8);
    expect(loadBios(memory, image(bios))).to.deep.equal({ gpa: 4 * GiB - 0x40000 });
    expect(bytes(memory, 0xe0000, 0x20000)).to.deep.equal(bios.slice(0x20000));
    loadBios(memory, image(bios.subarray(0, 0x10000)));
    for (const size of [0, 1000, 0x1010000]) {
      expect(() => loadBios(memory, image(new Uint8Array(size)))).to.throw(ImageError, /64 KiB/);
    }
  });

  it('ends with an entry or an ImageError for any file, in memory and work bounded by the file and the RAM', () => {
    fc.assert(
      fc.property(anyFile, (file) => {
        expect(misconduct(file), Buffer.from(file).toString('base64')).to.equal(undefined);
      }),
      { numRuns: 1000, endOnFailure: true }, // to make thousands of bytes fewer would take hours
    );
  });

  it('does not load the same bytes over and over', () => {
    const segments = (type: number): Uint8Array => {
      const file = Buffer.from(elf({ pvh: 0x100040 }));
      const count = 1000;
      const headers = Buffer.concat(
        Array.from({ length: count }, () => file.subarray(64 + (type === 4 ? 56 : 0), 120 + (type === 4 ? 56 : 0))),
      );
      file.writeBigUInt64LE(BigInt(file.length), 32);
      file.writeUInt16LE(count, 56);
      const all = Buffer.concat([file, headers]);
      // Each as large as all memory, or as the file.
      for (let i = 0; i < count; i++) {
        const at = file.length + 56 * i;
        if (type === 1) all.writeBigUInt64LE(BigInt(RAM - MiB), at + 40);
        else all.writeBigUInt64LE(BigInt(all.length - 0x180), at + 32);
      }
      return all;
    };
    expect(() => loadKernel(request(), image(segments(1)))).to.throw(ImageError, /too little memory: its segments/);
    expect(() => loadKernel(request(), image(segments(4)))).to.throw(ImageError, /notes/);
  });

  it('does not reserve what LZ4 data cannot hold', () => {
    expect(() => lz4Legacy(lz4(CODE), 2 ** 30)).to.throw(ImageError, /damaged/);
    const before = process.memoryUsage().arrayBuffers;
    expect(misconduct(withPayload(sized(lz4(CODE), 2 ** 30)))).to.equal(undefined);
    expect(process.memoryUsage().arrayBuffers - before).to.be.below(64 * MiB);
  });
});
