#include "oracle_generate.h"

#include <algorithm>
#include <cstring>

#include "oracle_float.h"
#include "oracle_guest.h"
#include "oracle_random.h"
#include "oracle_table.h"

namespace nvmm::oracle {
namespace {

using namespace cpu;

const FpuImage kInitialFpu = initialFpu();

class Generator {
 public:
  Generator(const Plan& plan, uint64_t index)
      : plan_(plan), random_(plan.seed * 0x9e3779b97f4a7c15 ^ index * 0xd1342543de82ef95), c_() {}

  Case templates(const std::vector<const Row*>& rows, const std::vector<const Row*>& fillers);
  Case mutated(const std::vector<const Row*>& rows);
  Case bytes();
  Case around(const uint8_t* code, unsigned length);

 private:
  void begin();
  void emit(const Row& row);
  void emitVex(const Row& row, unsigned opcode, uint8_t rex);
  void emitOperand(const Row& row, unsigned addressSize, unsigned operandSize, int segmentOverride, uint8_t& rex);
  void emitImmediate(const Row& row, unsigned operandSize, unsigned addressSize, int segmentOverride);
  void prepareOperand(const Row& row, uint64_t address, unsigned operandSize);
  void prepareImplicit(const Row& row, unsigned operandSize, unsigned addressSize, int segmentOverride, bool repeated);
  void patchFrame(unsigned slot, bool segments);
  void patchArea(uint64_t address);
  void chooseComponents();

  uint64_t target();
  uint64_t branchTarget();
  uint16_t selector();
  uint16_t anySelector();
  uint16_t readableLocal() { return localSelector(1 + random_.below(5)); }
  uint64_t base(int segment) const;
  void setAddress(Gpr reg, uint64_t value, unsigned addressSize);
  void patch(uint64_t address, const void* bytes, unsigned length);
  bool is64() const { return c_.bits == 64; }
  void put(uint8_t byte) {
    if (c_.length < sizeof c_.code) c_.code[c_.length++] = byte;
  }
  void putN(uint64_t value, unsigned bytes) {
    for (unsigned i = 0; i < bytes; i++) put(static_cast<uint8_t>(value >> 8 * i));
  }

  const Plan& plan_;
  Random random_;
  Case c_;
  uint16_t pinned_ = 0;  // registers whose value an earlier choice depends on
  bool locked_ = false;
  int ripRelative_ = -1;  // where a displacement from the next instruction stands
  uint64_t ripRelativeTarget_ = 0;
};

// The registers and segments before any instruction has its wishes.
void Generator::begin() {
  c_.bits = static_cast<uint8_t>(plan_.bits);
  // Mostly in the middle of a page, sometimes across a page boundary, sometimes across the end of the code.
  c_.rip = kCode + 0x800;
  if (random_.chance(4))
    c_.rip = kCode + kPage - 1 - random_.below(8);
  else if (random_.chance(1))
    c_.rip = kCode + kCodeSize - 1 - random_.below(8);
  for (uint64_t& r : c_.gpr) r = interesting(random_);

  c_.gpr[RSP] = kStack + 0xa00 + 8 * random_.below(16);
  const unsigned where = random_.below(100);
  if (where < 4)
    c_.gpr[RSP] = kStack + random_.below(24);
  else if (where < 8)
    c_.gpr[RSP] = kStack + kStackSize - random_.below(24);
  else if (where < 10)
    c_.gpr[RSP] += random_.below(8);
  else if (where < 12)
    c_.gpr[RSP] = target();
  else if (where < 13)
    c_.gpr[RSP] = interesting(random_);

  c_.rflags = kFlagsFixed | kIF | (random_.next() & kArithmeticFlags);
  if (random_.chance(15)) c_.rflags |= kDF;
  if (random_.chance(2)) c_.rflags |= kAC;

  c_.selector[CS] = c_.bits == 64 ? kCode64 : c_.bits == 32 ? kCode32 : kCode16;
  c_.selector[SS] = kData32;
  c_.selector[DS] = c_.selector[ES] = kData32;
  if (plan_.localSegments) {
    c_.selector[GS] = readableLocal();
    if (c_.bits == 16) {
      c_.selector[DS] = c_.selector[ES] = kWindowData;
      if (random_.chance(80)) {
        c_.selector[SS] = kStack16;
        if (c_.gpr[RSP] - kStack < kStackSize + 1) c_.gpr[RSP] -= base(SS);
        if (random_.chance(30)) c_.gpr[RSP] |= random_.next() << 16;  // not looked at
      }
    }
    if (c_.bits != 64 && random_.chance(10)) c_.selector[DS] = readableLocal();
    if (c_.bits != 64 && random_.chance(10)) c_.selector[ES] = readableLocal();
  }
  if (c_.bits != 64 && random_.chance(1)) c_.selector[random_.chance(50) ? DS : ES] = 0;
  pinned_ = 1 << RSP;
  c_.fpu = kInitialFpu;
}

// A linear address for a memory operand.
uint64_t Generator::target() {
  const unsigned where = random_.below(100);
  if (where < 60) return kData + kPage + 0x100 + random_.below(2 * kPage - 0x200);
  if (where < 70) return kData + 2 * kPage - 1 - random_.below(16);  // across two writable pages
  if (where < 78) return kData + kDataSize - 1 - random_.below(16);  // across the end
  if (where < 84) return kData + kPage - 1 - random_.below(16);      // from the read-only page
  if (where < 87) return kData + random_.below(kPage);
  if (where < 90) return kStack + random_.below(kStackSize);
  if (where < 92) return kData + 0x17f0 + random_.below(0x140);  // around the limits of segments
  if (where < 94) return kCode + random_.below(kCodeSize);
  if (where < 96) return kData - 1 - random_.below(16);
  if (is64() && where < 98) return 0x0000800000000000 - 1 - random_.below(16);  // across the canonical half
  return interesting(random_);
}

// An offset to jump to: never into the code of the case itself.
uint64_t Generator::branchTarget() {
  const unsigned where = random_.below(100);
  uint64_t linear = kCode + random_.below(0x700);
  if (where < 10)
    linear = kCode + kCodeSize - 16 + random_.below(32);
  else if (where < 15)
    linear = kData + random_.below(kDataSize);
  else if (where < 20)
    linear = 0x40000000 + random_.below(0x20000000);
  else if (where < 23 && is64())
    linear = random_.next() | 1ull << 62;  // hardly ever canonical
  return linear - codeBase(c_);
}

uint16_t Generator::anySelector() {
  constexpr uint16_t kUseful[] = {kCode32, kData32, kCode64, 0x07, 0x0f, 0x17, 0x1f, 0x27, 0x2f, 0x37, 0x3f, 0x47};
  if (random_.chance(75)) return random_.pick(kUseful);
  if (random_.chance(40)) return static_cast<uint16_t>(random_.below(4));
  if (random_.chance(60)) return static_cast<uint16_t>((random_.pick(kUseful) & ~3) | random_.below(4));
  return static_cast<uint16_t>(random_.next());
}

uint16_t Generator::selector() {
  const uint16_t chosen = anySelector();
  return !plan_.wideFrom16 && c_.bits == 16 && (chosen & ~3) == (kCode64 & ~3) ? kCode32 : chosen;
}

uint64_t Generator::base(int segment) const {
  const uint16_t s = c_.selector[segment];
  if ((is64() && segment != GS) || !(s & 4)) return 0;
  return kLocalSegments[s >> 3].base;
}

// What the processor ignores of the register is random.
void Generator::setAddress(Gpr reg, uint64_t value, unsigned addressSize) {
  if (addressSize < c_.bits / 8u || (c_.bits == 16 && addressSize == 2)) {
    const uint64_t mask = addressSize == 2 ? 0xffff : 0xffffffff;
    value = (value & mask) | (random_.next() & ~mask);
  }
  c_.gpr[reg] = value;
  pinned_ |= static_cast<uint16_t>(1 << reg);
}

void Generator::patch(uint64_t address, const void* bytes, unsigned length) {
  if (c_.patchLength) return;  // an earlier instruction has it
  c_.patchAddress = address;
  c_.patchLength = static_cast<uint16_t>(length);
  std::memcpy(c_.patch, bytes, length);
}

// What a RET, RETF, IRET, POPF or POP of a segment register finds. Flags without AC: an IRET that loads it from a
// misaligned stack raises #AC with AC still clear, which Linux takes for a split lock, and retries for ever.
void Generator::patchFrame(unsigned slot, bool segments) {
  uint64_t values[5] = {branchTarget(), segments ? (random_.chance(60) ? c_.selector[CS] : selector()) : random_.next(),
                        random_.next() & 0x3b7fd7, kStack + 0xb00, random_.chance(70) ? kData32 : selector()};
  uint8_t bytes[40];
  for (unsigned i = 0; i < 5; i++) std::memcpy(bytes + i * slot, &values[i], slot);
  patch(c_.gpr[RSP] + base(SS), bytes, 5 * slot);
}

void Generator::patchArea(uint64_t address) {
  uint8_t area[kXsaveArea];
  randomArea(random_, area);
  patch(address, area, sizeof area);
}

void Generator::prepareOperand(const Row& row, uint64_t address, unsigned operandSize) {
  uint8_t bytes[16];
  store(bytes, interesting(random_));
  store(bytes + 8, interesting(random_));
  if (row.traits & kFloat) randomOperand(random_, bytes);
  if (row.traits & kArea) return patchArea(address);
  if (row.opcode == 0x0fae)
    store(bytes, random_.chance(80) ? randomFpu(random_).mxcsr : static_cast<uint32_t>(interesting(random_)));
  if (row.traits & kIndirect) store(bytes, branchTarget());
  if (row.traits & kPointer) {
    store(bytes, branchTarget());
    store(bytes + operandSize, selector());
  }
  if (row.traits & kSelector) store(bytes, selector());
  if (row.traits & kCompare && random_.chance(50)) {
    if (row.operand == Operand::Memory) {
      store(bytes, operandSize == 8 ? c_.gpr[RAX] : (c_.gpr[RAX] & 0xffffffff) | c_.gpr[RDX] << 32);
      store(bytes + 8, c_.gpr[RDX]);
    } else {
      store(bytes, c_.gpr[RAX]);
    }
  }
  if (random_.chance(50) || row.traits & (kIndirect | kPointer | kSelector | kCompare | kFloat))
    patch(address, bytes, 16);
}

// ModRM, SIB and displacement; the registers of an address get values that make it a useful one.
void Generator::emitOperand(const Row& row, unsigned addressSize, unsigned operandSize, int segmentOverride,
                            uint8_t& rex) {
  unsigned reg = random_.below(8);
  while (!(row.digits >> reg & 1)) reg = random_.below(8);
  const unsigned fullReg = reg | (rex & 4 ? 8 : 0);
  const bool memory = row.operand == Operand::Memory || (row.operand == Operand::ModRm && random_.chance(60));
  if (!memory) {
    unsigned rm = random_.below(8);
    while (!(row.rms >> rm & 1)) rm = random_.below(8);
    const unsigned fullRm = rm | (rex & 1 ? 8 : 0);
    put(static_cast<uint8_t>(0xc0 | reg << 3 | rm));
    if (pinned_ >> fullRm & 1) return;
    if (row.traits & kIndirect) c_.gpr[fullRm] = branchTarget();
    if (row.traits & kSelector) c_.gpr[fullRm] = selector() | (random_.next() & 0xffffffffffff0000);
    if (row.traits & kCompare && random_.chance(50)) c_.gpr[fullRm] = c_.gpr[RAX];
    return;
  }

  unsigned mod = random_.below(3), rm = random_.below(8);
  uint8_t sib = 0;
  int baseReg = -1, indexReg = -1;
  unsigned scale = 0;
  if (addressSize == 2) {
    constexpr int kBase[] = {RBX, RBX, RBP, RBP, -1, -1, RBP, RBX}, kIndex[] = {RSI, RDI, RSI, RDI, RSI, RDI, -1, -1};
    baseReg = kBase[rm], indexReg = kIndex[rm];
    if (rm == 6 && mod == 0) baseReg = -1;
    if (baseReg < 0) baseReg = indexReg, indexReg = -1;
  } else if (rm == 4) {
    sib = static_cast<uint8_t>(random_.next());
    scale = sib >> 6;
    indexReg = (sib >> 3 & 7) | (rex & 2 ? 8 : 0);
    if (indexReg == RSP) indexReg = -1;
    if (mod != 0 || (sib & 7) != 5) baseReg = (sib & 7) | (rex & 1 ? 8 : 0);
  } else if (mod != 0 || rm != 5) {
    baseReg = static_cast<int>(rm | (rex & 1 ? 8 : 0));
  }
  const unsigned displacementSize = addressSize == 2 ? (mod == 1              ? 1
                                                        : mod == 2 || rm == 6 ? 2
                                                                              : 0)
                                                     : (mod == 1                  ? 1
                                                        : mod == 2 || baseReg < 0 ? 4
                                                                                  : 0);
  const bool ripRelative = is64() && mod == 0 && rm == 5;

  const int segment = segmentOverride >= 0 && (!is64() || segmentOverride == GS) ? segmentOverride
                      : baseReg == RSP || baseReg == RBP                         ? SS
                                                                                 : DS;
  uint64_t address = target();
  if (row.traits & kAligned && random_.chance(95)) address &= row.traits & kComponents ? ~uint64_t{63} : ~uint64_t{15};
  // Linux slows down whoever locks two cache lines at once, where it is told.
  if (locked_ && random_.chance(95)) address &= ~uint64_t{15};
  uint64_t operand = address;
  if (row.traits & kBitOffset) {
    // The bit offset, as a signed number of the operand's size, displaces the operand in multiples of that size.
    if (!(pinned_ >> fullReg & 1) && random_.chance(90))
      c_.gpr[fullReg] = random_.next() & (random_.chance(50) ? 0x1f : 0xfff);
    if (random_.chance(20) && !(pinned_ >> fullReg & 1)) c_.gpr[fullReg] = ~c_.gpr[fullReg] + 1;
    pinned_ |= static_cast<uint16_t>(1 << fullReg);
    const int64_t bit = operandSize == 2   ? static_cast<int16_t>(c_.gpr[fullReg])
                        : operandSize == 4 ? static_cast<int32_t>(c_.gpr[fullReg])
                                           : static_cast<int64_t>(c_.gpr[fullReg]);
    operand -= static_cast<uint64_t>((bit >> 3) & -static_cast<int64_t>(operandSize));
  }
  const uint64_t offset = operand - base(segment);

  int64_t displacement = static_cast<int64_t>(random_.next()) >> random_.below(64);
  displacement = displacementSize == 0   ? 0
                 : displacementSize == 1 ? static_cast<int8_t>(displacement)
                                         : static_cast<int32_t>(displacement);
  if (indexReg >= 0 && !(pinned_ >> indexReg & 1) && indexReg != baseReg)
    setAddress(static_cast<Gpr>(indexReg), c_.gpr[indexReg], addressSize);
  const uint64_t index = indexReg >= 0 && indexReg != baseReg ? c_.gpr[indexReg] << scale : 0;
  const bool baseIsFree = baseReg >= 0 && baseReg != indexReg && !(pinned_ >> baseReg & 1);
  if (baseIsFree)
    setAddress(static_cast<Gpr>(baseReg), offset - index - static_cast<uint64_t>(displacement), addressSize);
  else if (displacementSize >= 2)
    displacement = static_cast<int64_t>(offset - index -
                                        (baseReg >= 0 ? c_.gpr[baseReg] << (baseReg == indexReg ? scale : 0) : 0));

  put(static_cast<uint8_t>(mod << 6 | reg << 3 | rm));
  if (rm == 4 && addressSize != 2) put(sib);
  if (ripRelative) {
    ripRelative_ = c_.length;
    ripRelativeTarget_ = offset;
  }
  putN(static_cast<uint64_t>(displacement), displacementSize);
  prepareOperand(row, address, operandSize);
}

void Generator::emitImmediate(const Row& row, unsigned operandSize, unsigned addressSize, int segmentOverride) {
  const unsigned full = operandSize == 2 ? 2 : 4;
  const uint64_t next = c_.rip - codeBase(c_) + c_.length;  // before the immediate
  switch (row.immediate) {
    case Immediate::None:
      if (row.operand == Operand::Offset)
        putN(target() - base(segmentOverride >= 0 ? segmentOverride : DS), addressSize);
      return;
    case Immediate::Byte: return putN(interesting(random_), 1);
    case Immediate::Word: return putN(random_.chance(70) ? 8 * random_.below(32) : interesting(random_), 2);
    case Immediate::WordByte:
      putN(random_.chance(70) ? random_.below(256) : interesting(random_), 2);
      return put(static_cast<uint8_t>(random_.chance(60) ? random_.below(3) : random_.next()));
    case Immediate::Full: return putN(interesting(random_), full);
    case Immediate::Whole: return putN(interesting(random_), operandSize);
    case Immediate::RelByte: {
      // Not into the code of this case: at most 45 bytes, all but 15 of them before this place.
      const int before = -48 - static_cast<int>(random_.below(80)), behind = static_cast<int>(random_.below(128));
      return put(static_cast<uint8_t>(random_.chance(50) ? before : behind));
    }
    case Immediate::RelFull: return putN(branchTarget() - next - full, full);
    case Immediate::Far: putN(branchTarget(), full); return putN(random_.chance(50) ? c_.selector[CS] : selector(), 2);
  }
}

// The operands that no ModRM names.
void Generator::prepareImplicit(const Row& row, unsigned operandSize, unsigned addressSize, int segmentOverride,
                                bool repeated) {
  if (row.traits & kString) {
    const int source = segmentOverride >= 0 ? segmentOverride : DS;
    setAddress(RSI, target() - base(source), addressSize);
    setAddress(RDI, target() - base(ES), addressSize);
    if (repeated) {
      const unsigned kind = random_.below(100);
      uint64_t count = kind < 80 ? random_.below(20) : kind < 97 ? random_.below(3000) : interesting(random_);
      setAddress(RCX, count, addressSize);
    }
    // Equal runs, so that the comparing ones go on for a while.
    uint8_t run[48];
    std::memset(run, static_cast<int>(c_.gpr[RAX] & 0xff), sizeof run);
    if (random_.chance(40)) {
      c_.gpr[RAX] = (c_.gpr[RAX] & 0xff) * 0x0101010101010101;
      patch(c_.gpr[RDI] + base(ES), run, sizeof run - random_.below(16));
    }
  }
  if (row.traits & kFloat) c_.fpu = randomFpu(random_);
  if (row.traits & kComponents) chooseComponents();
  // Where it cannot fault: whether a mask of zeros does is the processor's choice.
  if (row.traits & kMaskMove)
    setAddress(RDI, kData + kPage + random_.below(2 * kPage - 16) - base(segmentOverride >= 0 ? segmentOverride : DS),
               addressSize);
  if (row.traits & kTable)
    setAddress(RBX, target() - base(segmentOverride >= 0 ? segmentOverride : DS) - (c_.gpr[RAX] & 0xff), addressSize);
  if (row.traits & kDivide && random_.chance(60)) {
    const bool negative = static_cast<int64_t>(c_.gpr[RAX]) < 0 && random_.chance(50);
    c_.gpr[RDX] = negative ? ~uint64_t{0} : random_.chance(80) ? 0 : random_.below(100);
    if (random_.chance(30)) c_.gpr[RAX] &= 0xff;
  }
  if (row.traits & kFrame) {
    const bool iret = row.opcode == 0xcf, far = row.opcode == 0xca || row.opcode == 0xcb || iret;
    unsigned slot = operandSize;
    if (is64() && !far && slot == 4) slot = 8;
    patchFrame(slot, far);
    if (row.opcode == 0x9d) store(c_.patch, random_.next());
    if (row.family == std::string("segment")) store(c_.patch, uint64_t{selector()});
  }
  if (row.traits & kLevel || row.opcode == 0xc9) {  // ENTER, LEAVE
    if (!(pinned_ >> RBP & 1)) setAddress(RBP, random_.chance(80) ? c_.gpr[RSP] + 8 * random_.below(32) : target(), 8);
  }
}

void Generator::chooseComponents() {
  c_.gpr[RAX] = random_.chance(70) ? random_.below(4) : c_.gpr[RAX] & ~foreignComponents();
  if (random_.chance(10)) c_.gpr[RAX] = ~foreignComponents();
  pinned_ |= 1 << RAX;
}

void Generator::emitVex(const Row& row, unsigned opcode, uint8_t rex) {
  const unsigned prefix = row.prefix == Prefix::P66  ? 1
                          : row.prefix == Prefix::F3 ? 2
                          : row.prefix == Prefix::F2 ? 3
                                                     : 0;
  const bool hasSource = row.immediate == Immediate::None;  // RORX has none
  const unsigned source = hasSource ? random_.below(is64() ? 16 : 8) : 0;
  put(0xc4);
  put(static_cast<uint8_t>((~rex & 7) << 5 | (opcode >> 8 == 0x38 ? 2 : 3)));
  put(static_cast<uint8_t>((rex & 8) << 4 | (~source & 15) << 3 | prefix));
}

void Generator::emit(const Row& row) {
  const bool string = row.traits & kString, vex = row.traits & kVex;
  bool operand16 = random_.chance(20), address = random_.chance(c_.bits == 16 ? 25 : 10);
  if (row.prefix == Prefix::None || row.traits & kFloat) operand16 = row.prefix == Prefix::P66;
  int segmentOverride = -1;
  if (random_.chance(10)) segmentOverride = static_cast<int>(random_.below(6));
  if (plan_.bits != 64 && plan_.localSegments && address && plan_.bits == 32 && random_.chance(80))
    segmentOverride = GS;
  if (segmentOverride == FS && is64()) segmentOverride = GS;

  uint8_t prefixes[8];
  unsigned count = 0;
  if (operand16) prefixes[count++] = 0x66;
  if (address) prefixes[count++] = 0x67;
  constexpr uint8_t kOverrides[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65};
  if (segmentOverride >= 0) prefixes[count++] = kOverrides[segmentOverride];
  if (vex) operand16 = false;
  locked_ = !vex && random_.chance(row.traits & kLockable ? 25 : 2);
  if (locked_) prefixes[count++] = 0xf0;
  locked_ |= row.opcode == 0x86;  // XCHG
  bool repeated = false;
  if (row.prefix == Prefix::F3 && !vex)
    prefixes[count++] = 0xf3;
  else if (row.prefix == Prefix::F2 && !vex)
    prefixes[count++] = 0xf2;
  else if (row.prefix == Prefix::Any && random_.chance(string ? 60 : 4))
    repeated = true;
  if (repeated) prefixes[count++] = random_.chance(50) ? 0xf2 : 0xf3;
  for (unsigned i = count; i > 1; i--) std::swap(prefixes[i - 1], prefixes[random_.below(i)]);
  for (unsigned i = 0; i < count; i++) put(prefixes[i]);
  if (count && random_.chance(1))  // up to and past the limit of 15 bytes
    for (unsigned n = random_.below(14); n > 0; n--) put(prefixes[0]);

  uint8_t rex = 0;
  if (is64() && random_.chance(60)) rex = static_cast<uint8_t>(0x40 | random_.below(16));
  if (rex && !vex) put(rex);
  const unsigned operandSize = rex & 8 ? 8 : operand16 != (c_.bits == 16) ? 2 : 4;
  const unsigned addressSize = is64() ? (address ? 4 : 8) : (c_.bits == 16) != address ? 2 : 4;

  const unsigned opcode = row.opcode + random_.below(row.count);
  if (vex) {
    emitVex(row, opcode, rex);
  } else {
    if (opcode >> 8) put(0x0f);
    if (opcode >> 8 == 0x38 || opcode >> 8 == 0x3a) put(static_cast<uint8_t>(opcode >> 8));
  }
  put(static_cast<uint8_t>(opcode));

  prepareImplicit(row, operandSize, addressSize, segmentOverride, repeated);
  ripRelative_ = -1;
  if (row.operand != Operand::None && row.operand != Operand::Offset)
    emitOperand(row, addressSize, operandSize, segmentOverride, rex);
  emitImmediate(row, operandSize, addressSize, segmentOverride);
  if (ripRelative_ >= 0) {
    const uint64_t next = c_.rip + c_.length;
    store(c_.code + ripRelative_, static_cast<uint32_t>(ripRelativeTarget_ - next));
  }
}

bool leavesUndefined(const Case& c, unsigned executed) {
  const Undefined u = undefinedAfter(c, executed);
  return u.flags != 0 || u.result;
}

Case Generator::templates(const std::vector<const Row*>& rows, const std::vector<const Row*>& fillers) {
  for (;;) {
    c_ = {};
    begin();
    // A sequence shows what one instruction leaves to the next inside the processor: its flags above all.
    const unsigned before = random_.chance(25) ? 1 + random_.below(2) : 0;
    for (unsigned i = 0; i < before; i++) emit(*fillers[random_.below(static_cast<unsigned>(fillers.size()))]);
    const Row& row = *rows[random_.below(static_cast<unsigned>(rows.size()))];
    const unsigned ahead = c_.length;
    emit(row);  // which may have set CL, the count of a shift before it
    if (row.traits & kReadsFlags && leavesUndefined(c_, ahead)) continue;
    c_.singleStep = before == 0 && random_.chance(4);
    if (c_.bits != 64)
      for (int i = 0; i < 16; i++) c_.gpr[i] = i < 8 ? c_.gpr[i] & 0xffffffff : 0;
    if (admissible(c_)) return c_;
  }
}

Case Generator::mutated(const std::vector<const Row*>& rows) {
  for (;;) {
    c_ = templates(rows, rows);
    const unsigned length = std::min<unsigned>(c_.length, 15);
    for (unsigned n = 1 + random_.below(2); n > 0; n--)
      c_.code[random_.below(length)] ^=
          static_cast<uint8_t>(random_.chance(50) ? 1u << random_.below(8) : random_.next());
    c_.singleStep = true;
    if (admissible(c_)) return c_;
  }
}

Case Generator::bytes() {
  for (;;) {
    c_ = {};
    begin();
    for (unsigned i = 0; i < 16; i++)
      if (i != RSP && random_.chance(40)) c_.gpr[i] = target() - (c_.bits == 16 ? kWindow : 0);
    for (unsigned i = 0; i < 15; i++) put(static_cast<uint8_t>(random_.next()));
    c_.singleStep = true;
    if (c_.bits != 64)
      for (int i = 0; i < 16; i++) c_.gpr[i] = i < 8 ? c_.gpr[i] & 0xffffffff : 0;
    if (admissible(c_)) return c_;
  }
}

Case Generator::around(const uint8_t* code, unsigned length) {
  begin();
  c_.rip = kCode + 0x800;
  c_.fpu = randomFpu(random_);
  for (Gpr pointer : {RBX, RSI, RDI, RBP}) c_.gpr[pointer] = target() - (c_.bits == 16 ? kWindow : 0);
  const Decoded d = decode(code, length, c_.bits);
  if (d.row && d.row->traits & kMaskMove)
    c_.gpr[RDI] = kOperand - (c_.bits == 16 ? kWindow : 0);  // see prepareImplicit()
  if (random_.chance(70)) c_.gpr[RCX] = random_.below(20);
  if (d.row && d.row->traits & kComponents) chooseComponents();
  uint8_t operand[16];
  randomOperand(random_, operand);
  if (d.row && d.row->traits & kArea)
    patchArea(kOperand);
  else if (random_.chance(80))
    patch(kOperand, operand, sizeof operand);
  for (unsigned i = 0; i < length; i++) put(code[i]);
  if (c_.bits != 64)
    for (int i = 0; i < 16; i++) c_.gpr[i] = i < 8 ? c_.gpr[i] & 0xffffffff : 0;
  return c_;
}

struct Family {
  const char* name;
  std::vector<const Row*> rows;
};

struct Families {
  std::vector<Family> all;
  std::vector<const Row*> fillers;  // for the beginning of a sequence
};

Families familiesOf(unsigned bits) {
  Families f;
  for (const Row& row : table()) {
    if (!row.in(bits)) continue;
    auto it =
        std::find_if(f.all.begin(), f.all.end(), [&](const Family& x) { return !std::strcmp(x.name, row.family); });
    if (it == f.all.end()) it = f.all.insert(it, Family{row.family, {}});
    it->rows.push_back(&row);
    constexpr uint32_t kNotAhead = kBranch | kReadsFlags | kFrame | kPointer | kSelector | kLoadsSs;
    constexpr const char* kCalm[] = {"alu", "move", "exchange", "shift", "muldiv", "bit", "string", "flags"};
    const bool calm =
        std::any_of(std::begin(kCalm), std::end(kCalm), [&](auto x) { return !std::strcmp(x, row.family); });
    if (calm && !(row.traits & kNotAhead)) f.fillers.push_back(&row);
  }
  return f;
}

constexpr const char* kBytes = "bytes";
constexpr const char* kMutated = "mutated";

}  // namespace

Memory initialMemory(uint64_t seed) {
  Random random(seed);
  Memory memory;
  for (size_t i = 0; i < sizeof memory.bytes; i += 8) store(memory.bytes + i, interesting(random));
  return memory;
}

bool knownFamily(const std::string& family, unsigned bits) {
  return family == kBytes || family == kMutated || std::any_of(table().begin(), table().end(), [&](const Row& row) {
           return row.in(bits) && row.family == family;
         });
}

Case generate(const Plan& plan, uint64_t index, const char*& family) {
  static const Families kFamilies[] = {familiesOf(16), familiesOf(32), familiesOf(64)};
  const Families& families = kFamilies[plan.bits == 64 ? 2 : plan.bits == 32 ? 1 : 0];
  Generator generator(plan, index);
  // Of each 32 cases one is of random bytes and one is mutated: these are single-stepped, which is slow on the host.
  const bool bytes = plan.family.empty() ? index % 32 == 30 : plan.family == kBytes;
  const bool mutated = plan.family.empty() ? index % 32 == 31 : plan.family == kMutated;
  if (bytes) {
    family = kBytes;
    return generator.bytes();
  }
  const size_t ordinal = index / 32 * 30 + index % 32;
  const Family* chosen = &families.all[ordinal % families.all.size()];
  for (const Family& f : families.all)
    if (f.name == plan.family) chosen = &f;
  family = mutated ? kMutated : chosen->name;
  return mutated ? generator.mutated(chosen->rows) : generator.templates(chosen->rows, families.fillers);
}

Case generateFor(const Plan& plan, uint64_t index, const uint8_t* code, unsigned length) {
  return Generator(plan, index).around(code, length);
}

}  // namespace nvmm::oracle
