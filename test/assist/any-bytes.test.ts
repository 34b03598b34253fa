// Whatever the guest's code is: assistMem either does what the processor does, or throws an AssistError and has changed nothing.
import { expect } from 'chai';
import fc from 'fast-check';
import { AssistError, ExitReason, Gpr, StateFlag, TranslationError } from 'nvmm';
import { Decoder, Instruction, Operation } from '../../lib/x86/decode.js';
import { AssistGuest, DATA, DEVICE, DEVICE_SIZE, MODES, VENDORS } from '../support/assist.js';
import { instructionBytes } from '../support/decoders.js';

const RUNS = Number(process.env['ASSIST_RUNS'] ?? 40) * 10;

const draw = fc.record({
  code: instructionBytes,
  // Bases of addresses, and what may be an index: small.
  registers: fc.array(fc.integer({ min: 0, max: 0xfff }), { minLength: 16, maxLength: 16 }),
  bytes: fc.uint8Array({ minLength: 256, maxLength: 256 }),
});

for (const vendor of VENDORS) {
  for (const mode of MODES) {
    describe(`assistMem of any code, ${mode} mode [${vendor}]`, () => {
      let device: AssistGuest;
      let memory: AssistGuest;
      const decoder = new Decoder();
      const instruction = new Instruction();
      before(() => {
        device = new AssistGuest(vendor, mode, true);
        memory = new AssistGuest(vendor, mode, false);
        for (const guest of [device, memory]) {
          // Elsewhere reads are 0, and writes are lost.
          guest.vcpu.configureCallbacks({
            mem: ({ gpa, write, size, data }) => {
              const at = gpa - DEVICE;
              const isDevice = at >= 0 && at + size <= DEVICE_SIZE;
              guest.accesses.push({ gpa, write, size, data: [] });
              if (!isDevice) return;
              if (write) guest.device.set(data, at);
              else data.set(guest.device.subarray(at, at + size));
            },
          });
        }
      });
      after(() => {
        device.close();
        memory.close();
      });

      function prepare(
        guest: AssistGuest,
        code: Uint8Array,
        { registers, bytes }: { registers: number[]; bytes: Uint8Array },
      ): void {
        guest.reset();
        guest.load(code);
        for (let at = 0; at < DEVICE_SIZE; at += bytes.length) guest.device.set(bytes, at);
        guest.memory.bytes.set(bytes, DATA);
        const { gprs } = guest.vcpu.state;
        for (let i = 0; i < 16; i++) gprs[i] = BigInt(i % 2 === 0 ? registers[i]! & 7 : DEVICE + registers[i]!);
        gprs[Gpr.RSI] = BigInt(DEVICE + registers[6]!);
        gprs[Gpr.RCX] = BigInt(registers[1]! & 7);
        gprs[Gpr.RSP] = 0x9000n; // as the index of a bit, 0x1200: not among the code
      }

      it('what it knows it does as the processor', () => {
        let known = 0;
        fc.assert(
          fc.property(draw, (drawn) => {
            const codeSize = mode === 'long' ? 8 : device.codeSize;
            fc.pre(decoder.decode(instruction, drawn.code, 0, drawn.code.length, codeSize) === 'done');
            const { operation, length } = instruction;
            fc.pre(operation !== Operation.CALL && operation !== Operation.JMP); // to where there is no code
            const code = drawn.code.slice(0, length);
            for (const guest of [device, memory]) {
              prepare(guest, code, drawn);
              guest.run();
            }
            known += device.accesses.length;
            expect(device.differences(memory).join('\n'), Buffer.from(code).toString('hex')).to.equal('');
          }),
          { numRuns: RUNS, maxSkipsPerRun: 1000 },
        );
        expect(known, 'accesses to the device').to.be.greaterThan(RUNS / 10);
      });

      it('what it does not know changes nothing', () => {
        let unknown = 0;
        fc.assert(
          fc.property(draw, (drawn) => {
            prepare(device, drawn.code, drawn);
            const { vcpu } = device;
            if (vcpu.run() !== ExitReason.MEMORY) return;
            const registers = new Uint8Array(vcpu.state.gprs.buffer).slice();
            const bytes = device.memory.bytes.slice();
            try {
              vcpu.assistMem();
            } catch (error) {
              unknown++;
              if (error instanceof AssistError) {
                const { code, rip, bytes: reported } = error;
                expect(rip).to.equal(vcpu.state.gprs[Gpr.RIP]);
                if (code === 'ENODEV') {
                  // What is cut off at the end of the page is not reported, and zeros follow the code.
                  const at = Number(rip) - 0x1000;
                  const expected = drawn.code.subarray(at, at + reported.length);
                  expect([...reported.subarray(0, expected.length)]).to.deep.equal([...expected]);
                }
              } else {
                // The code has come to its page tables.
                expect(error).to.be.instanceOf(TranslationError);
              }
              expect(new Uint8Array(vcpu.state.gprs.buffer)).to.deep.equal(registers);
              expect(device.memory.bytes).to.deep.equal(bytes);
              expect(device.accesses).to.deep.equal([]);
            }
            if (vcpu.eventWaiting) vcpu.run();
            vcpu.getState(StateFlag.GPRS);
          }),
          { numRuns: RUNS },
        );
        expect(unknown, 'refusals').to.be.greaterThan(0);
      });
    });
  }
}
