import { expect } from 'chai';
import { ExitReason, Prot, Seg, StateFlag, type Machine, type Nvmm, type Vcpu } from 'nvmm';
import { isIntel, onEachDevice } from '../support/devices.js';
import { bytes, longMode, realMode, runOn } from '../support/guest.js';

const DEVICE = 0x30000; // 4 pages without memory
const RANGE = { first: DEVICE, last: DEVICE + 0x2fff };

// mov ebx, 0x30000; mov rax, 0x1122334455667788; mov r8d, 0x99aabbcc; mov ecx, 3; mov edi, 3
// again: mov [rbx], al; mov [rbx+1], ah; mov [rbx+2], ax; mov [rbx+4], eax; out 0x10, al; mov [rbx+8], rax
// mov byte ptr [rbx+0x10], 0x5a; mov qword ptr [rbx+0x18], -2; mov [rbx+rcx*8+0x100], r8d; mov [rip+...], eax (to 0x30020)
// movabs [0x30028], al; mov fs:[0x30], ax; rol rax, 8; dec edi; jnz again; hlt
const FORMS = bytes(`
  bb00000300 48b88877665544332211 41b8ccbbaa99 b903000000 bf03000000
  8803 886301 66894302 894304 e610 48894308 c643105a 48c74318feffffff 448984cb00010000
  8905d5ef0200 a22800030000000000 64668904253000 0000 48c1c008 ffcf 75ba f4`);

/** What FORMS writes, in its order: to ports by their number. */
const FORMS_WRITE = [0x1122334455667788n, 0x2233445566778811n, 0x3344556677881122n].flatMap((rax) => {
  const store = (gpa: number, size: number, value: bigint): string =>
    `${(DEVICE + gpa).toString(16)}:${size}:${BigInt.asUintN(8 * size, value).toString(16)}`;
  return [
    store(0, 1, rax),
    store(1, 1, rax >> 8n),
    store(2, 2, rax),
    store(4, 4, rax),
    `port 10:1:${(rax & 0xffn).toString(16)}`,
    store(8, 8, rax),
    store(0x10, 1, 0x5an),
    store(0x18, 8, -2n),
    store(0x118, 4, 0x99aabbccn),
    store(0x20, 4, rax),
    store(0x28, 1, rax),
    store(0x30, 2, rax),
  ];
});

// mov ax, 0x3000; mov ds, ax; mov bx, 0x10; mov si, 4
// mov [bx+si+2], ax; mov [0x20], al; mov [0x22], eax; mov word ptr [bx], 0x1234; hlt
const REAL_MODE = bytes('b80030 8ed8 bb1000 be0400 894002 a22000 66a32200 c7073412 f4');
const REAL_MODE_WRITES = ['30016:2:3000', '30020:1:0', '30022:4:3000', '30010:2:1234'];

// mov ebx, 0x30000; mov edi, 0x30010; mov eax, 0x11223344
// mov [rbx+0xfff], ax; add [rbx], al; stosb; mov [rbx+0x1ffe], eax; mov [rbx+0x3000], al; xchg [rbx+8], eax; hlt
const NOT_PLAIN = bytes(`
  bb00000300 bf10000300 b844332211 668983ff0f0000 0003 aa 8983fe1f0000 888300300000 874308 f4`);

// mov ebx, 0x30000; mov ecx, 1000; next: mov [rbx], cl; inc rbx; loop next; hlt
const THOUSAND = bytes('bb00000300 b9e8030000 880b 48ffc3 e2f9 f4');

onEachDevice('coalesced stores', (device) => {
  let nvmm: Nvmm;
  let machine: Machine;
  beforeEach(() => {
    nvmm = device.open();
    machine = nvmm.createMachine();
  });
  afterEach(() => {
    nvmm.close();
  });

  /** Runs until HLT: what was written, by batches and by assists, in one order; and how much of it by assists. */
  async function writesOf(
    vcpu: Vcpu,
    capacity = 4096,
  ): Promise<{ writes: string[]; assisted: number; batches: number }> {
    const result = { writes: [] as string[], assisted: 0, batches: 0 };
    const note = (where: string, size: number, value: bigint): void => {
      result.writes.push(`${where}:${size}:${value.toString(16)}`);
    };
    vcpu.configureCoalescing({
      ports: [{ first: 0x10, last: 0x10 }],
      memory: [RANGE],
      capacity,
      deliver: (writes) => {
        result.batches++;
        expect(writes).to.have.length.within(1, capacity);
        for (const write of writes) {
          if (write.port === undefined) note(write.gpa.toString(16), write.size, write.value);
          else note(`port ${write.port.toString(16)}`, write.size, BigInt(write.value));
        }
      },
    });
    vcpu.configureCallbacks({
      mem: ({ gpa, write, size, data }) => {
        if (!write) return;
        result.assisted++;
        note(gpa.toString(16), size, BigInt(`0x${Buffer.from(data).reverse().toString('hex')}`));
      },
    });
    for await (const { reason } of vcpu.exits()) {
      if (reason === ExitReason.HALTED) break;
      expect(reason).to.equal(ExitReason.MEMORY);
      vcpu.assistMem();
    }
    return result;
  }

  it('come in order with writes to ports, whatever the form of the MOV', async () => {
    const { vcpu } = longMode(machine, FORMS);
    vcpu.state.segs[Seg.FS]!.base = BigInt(DEVICE);
    vcpu.setState(StateFlag.SEGS);
    const { writes, assisted } = await writesOf(vcpu);
    expect(writes).to.deep.equal(FORMS_WRITE);
    // Intel's processors don't say what instruction it is.
    expect(assisted).to.equal(isIntel(nvmm) ? FORMS_WRITE.length - 3 : 0);
    expect(vcpu.stats.coalesced).to.equal(isIntel(nvmm) ? 3 : FORMS_WRITE.length);
  });

  it('come from 16-bit code, too', async () => {
    const { vcpu } = realMode(machine, REAL_MODE);
    const { writes, assisted } = await writesOf(vcpu);
    expect(writes).to.deep.equal(REAL_MODE_WRITES);
    expect(assisted).to.equal(isIntel(nvmm) ? REAL_MODE_WRITES.length : 0);
  });

  it('come in batches, and make themselves known by one exit', async () => {
    const { vcpu } = longMode(machine, THOUSAND);
    const { writes, batches } = await writesOf(vcpu, 100);
    const expected = Array.from(
      { length: 1000 },
      (_, i) => `${(DEVICE + i).toString(16)}:1:${((1000 - i) & 0xff).toString(16)}`,
    );
    expect(writes).to.deep.equal(expected);
    if (isIntel(nvmm)) return;
    expect(batches).to.be.at.least(10);
    expect(vcpu.stats.exits['MEMORY']).to.equal(1001);
  });

  it('of more instructions than are remembered, again and again', async () => {
    // again: for i of 0 to 99: mov [rbx + i], cl; then dec ecx; jnz again; hlt
    const stores = Array.from({ length: 100 }, (_, i) => `888b${i.toString(16).padStart(2, '0')}000000`).join('');
    const { vcpu } = longMode(machine, bytes(`bb00000300 b903000000 ${stores} ffc9 0f85a0fdffff f4`));
    const { writes } = await writesOf(vcpu);
    const expected = [3, 2, 1].flatMap((cl) =>
      Array.from({ length: 100 }, (_, i) => `${(DEVICE + i).toString(16)}:1:${cl}`),
    );
    expect(writes).to.deep.equal(expected);
  });

  it('are none where an instruction does more, crosses pages or leaves the range', async () => {
    const { vcpu } = longMode(machine, NOT_PLAIN);
    const { writes } = await writesOf(vcpu);
    expect(vcpu.stats.coalesced).to.equal(0);
    expect(writes).to.deep.equal([
      '30fff:1:44',
      '31000:1:33',
      '30000:1:44',
      '30010:1:44',
      '31ffe:2:3344',
      '32000:2:1122',
      '33000:1:44',
      '30008:4:11223344',
    ]);
  });

  it('are none where a page table lies in the range', async () => {
    // mov [0x200018], al; hlt, where the page directory's second entry leads to a table at DEVICE
    const { memory, vcpu } = longMode(machine, bytes('880425 18002000 f4'));
    new DataView(memory.bytes.buffer, memory.bytes.byteOffset).setBigUint64(0x12008, BigInt(DEVICE) | 3n, true);
    vcpu.configureCoalescing({ memory: [RANGE], deliver: () => expect.fail('delivered') });
    for await (const exit of vcpu.exits()) {
      expect(exit.toObject()).to.include({ reason: 'MEMORY', gpa: DEVICE });
      break;
    }
    expect(vcpu.stats.coalesced).to.equal(0);
  });

  it('are exits as ever in run(), and where coalescing has ended', async () => {
    const { vcpu } = longMode(machine, THOUSAND);
    const deliver = (): never => expect.fail('delivered');
    vcpu.configureCoalescing({ memory: [RANGE], deliver });
    expect(runOn(vcpu)).to.equal(ExitReason.MEMORY);
    vcpu.configureCoalescing(undefined);
    while ((await vcpu.runAsync()) === ExitReason.NONE);
    expect(vcpu.exit.toObject()).to.include({ reason: 'MEMORY', prot: Prot.WRITE, gpa: DEVICE });
  });

  it('are configured with care', () => {
    const { vcpu } = longMode(machine, bytes('f4'));
    const deliver = (): void => undefined;
    for (const wrong of [
      { memory: [], deliver },
      { memory: 5, deliver },
      { memory: [{ first: 2, last: 1 }], deliver },
      { memory: [{ first: 0, last: 2 ** 37 }], deliver },
      { memory: [RANGE], ports: [], deliver },
      { memory: [RANGE] },
    ]) {
      expect(() => {
        vcpu.configureCoalescing(wrong as never);
      }, JSON.stringify(wrong)).to.throw(Error, /must be/);
    }
  });
});
