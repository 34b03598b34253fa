#include "oracle_guest.h"

#include <algorithm>
#include <cstring>

#include "oracle_native.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace nvmm::oracle {
namespace {

// Guest-physical pages.
enum Frame : uint64_t {
  kPml4,
  kLowPdpt,
  kLowPd,
  kCodePt,
  kDataPt,
  kStackPt,
  kHighPdpt,
  kHighPd,
  kHighPt,
  kTables,
  kIdt,
  kHandlers,
  kHandlerStack,
  kCodeFrames,
  kMemoryFrames = kCodeFrames + 2,
  kFrames = kMemoryFrames + 4
};
constexpr uint64_t gpa(uint64_t frame) { return frame * kPage; }

// The supervisor's half: the frames from kTables to kHandlerStack.
constexpr uint64_t kHigh = 0xffff800000000000;
constexpr uint64_t linear(Frame frame) { return kHigh + gpa(frame - kTables); }
constexpr uint64_t kGdt = 0, kLdt = 0x200, kTss = 0x400, kTssLimit = 0x67;  // in the frame kTables
constexpr uint16_t kLdtSelector = 0x80, kTssSelector = 0x90;
constexpr uint16_t kSupervisorCode = 0x10;
constexpr uint64_t kHandlerSize = 16;  // one for each vector, full of HLT
constexpr unsigned kGdtEntries = 16;   // that user mode may look at

constexpr uint64_t kPresentBit = 1, kWriteBit = 2, kUserBit = 4;
constexpr uint64_t kNoExecute = 1ull << 63;
constexpr uint64_t kBudget = 200000;

uint64_t descriptor(uint64_t base, uint64_t limit, uint64_t rights) {  // rights as LAR gives them
  if (rights & 0x800000) limit >>= 12;
  return (limit & 0xffff) | (base & 0xffffff) << 16 | (rights & 0xf0ff00) << 32 | (limit & 0xf0000) << 32 |
         (base & 0xff000000) << 32;
}

uint64_t gate(uint64_t handler, unsigned dpl) {
  return (handler & 0xffff) | kSupervisorCode << 16 | (0x8e00ull | dpl << 13) << 32 | (handler & 0xffff0000) << 32;
}

}  // namespace

namespace {

#if defined(__x86_64__)
// How much of FIP stays where its upper 16 bits are no sign extension: those with linear addresses of 57 bits have as
// many here.
uint8_t pointerBits(const cpu::FpuImage& own) {
  constexpr uint64_t kFrom48 = 1ull << 48, kFrom57 = 1ull << 57;
  cpu::FpuImage image = own;
  image.fcw &= ~1;      // with an exception that is pending, as only then some load the pointers
  image.fsw |= 0x8081;  // B, ES, IE
  image.fip = kFrom48 | kFrom57;
  asm volatile(
      "fxrstor64 %0\n\t"
      "fxsave64 %0\n\t"
      "fxrstor64 %1"
      : "+m"(image)
      : "m"(own));
  return image.fip & kFrom57 ? 64 : image.fip & kFrom48 ? 57 : 48;
}
#endif

cpu::Model makeHostModel() {
#if defined(__x86_64__)
  unsigned eax, ebx, ecx, edx;
  const bool amd = __get_cpuid(0, &eax, &ebx, &ecx, &edx) && ebx == signature_AMD_ebx;
  cpu::Model result = cpu::model(amd ? cpu::Vendor::Amd : cpu::Vendor::Intel);
  alignas(16) cpu::FpuImage image;
  asm("fxsave64 %0" : "=m"(image));
  if (image.mxcsrMask) result.mxcsrMask = image.mxcsrMask;
  result.pointerBits = pointerBits(image);
  return result;
#else
  return cpu::model(cpu::Vendor::Intel);
#endif
}

}  // namespace

const cpu::Model& hostModel() {
  static const cpu::Model kModel = makeHostModel();
  return kModel;
}

uint64_t foreignComponents() {
  static const uint64_t kForeign = hostComponents() & ~hostModel().xcr0;
  return kForeign;
}

template <typename T>
T& Guest::at(uint64_t gpa) {
  return *reinterpret_cast<T*>(&ram_[gpa]);
}

Guest::Guest(const Memory& initial, bool hasLocalSegments)
    : initial_(initial), hostComponents_(hostComponents()), ram_(gpa(kFrames)), cpu_(*this, hostModel()) {
  buildPageTables();
  buildDescriptorTables(hasLocalSegments);
  std::memset(&ram_[gpa(kHandlers)], 0xf4, kPage);
  std::memset(&ram_[gpa(kCodeFrames)], 0xcc, kCodeSize);
  std::memcpy(&ram_[gpa(kMemoryFrames)], &initial, sizeof initial);
}

cpu::HostPage Guest::page(uint64_t gpa) {
  if (gpa >= ram_.size()) return {nullptr, 0};
  return {&ram_[gpa & ~uint64_t{kPage - 1}], cpu::kReadable | cpu::kWritable | cpu::kExecutable};
}

void Guest::buildPageTables() {
  constexpr uint64_t kTable = kPresentBit | kWriteBit | kUserBit;
  auto entry = [this](Frame table, uint64_t index) -> uint64_t& {
    return at<uint64_t>(gpa(table) + 8 * (index & 511));
  };
  auto map = [&](Frame table, uint64_t address, uint64_t frame, uint64_t bits) {
    entry(table, address >> 12) = gpa(frame) | bits;
  };
  entry(kPml4, 0) = gpa(kLowPdpt) | kTable;
  entry(kLowPdpt, 0) = gpa(kLowPd) | kTable;
  entry(kLowPd, kCode >> 21) = gpa(kCodePt) | kTable;
  entry(kLowPd, kData >> 21) = gpa(kDataPt) | kTable;
  entry(kLowPd, kStack >> 21) = gpa(kStackPt) | kTable;
  for (unsigned i = 0; i < kCodeSize / kPage; i++)
    map(kCodePt, kCode + i * kPage, kCodeFrames + i, kPresentBit | kUserBit);
  for (unsigned i = 0; i < kDataSize / kPage; i++)
    map(kDataPt, kData + i * kPage, kMemoryFrames + i, kPresentBit | kUserBit | kNoExecute | (i == 0 ? 0 : kWriteBit));
  map(kStackPt, kStack, kMemoryFrames + kDataSize / kPage, kTable | kNoExecute);

  entry(kPml4, kHigh >> 39) = gpa(kHighPdpt) | kTable;
  entry(kHighPdpt, 0) = gpa(kHighPd) | kTable;
  entry(kHighPd, 0) = gpa(kHighPt) | kTable;
  for (uint64_t frame = kTables; frame <= kHandlerStack; frame++)
    map(kHighPt, gpa(frame - kTables), frame, kPresentBit | kWriteBit);
}

void Guest::buildDescriptorTables(bool hasLocalSegments) {
  const uint64_t gdt = gpa(kTables) + kGdt, ldt = gpa(kTables) + kLdt;
  for (unsigned i = 1; i < kGdtEntries; i++) {
    uint32_t rights, limit;
    if (describeSelector(static_cast<uint16_t>(i << 3 | 3), rights, limit))
      at<uint64_t>(gdt + 8 * i) = descriptor(0, limit, rights);
  }
  at<uint64_t>(gdt + kSupervisorCode) = descriptor(0, 0xffffffff, 0xa09b00);
  if (hasLocalSegments) {
    unsigned index = 0;
    for (const LocalSegment& s : kLocalSegments)
      at<uint64_t>(ldt + 8 * index++) = descriptor(
          s.base, s.limit, (s.type | 0x71u | s.present << 7) << 8 | s.big << 22 | 1 << 20);  // S, DPL 3, accessed; AVL
  }
  for (unsigned vector = 0; vector < 256; vector++) {
    uint64_t handler = linear(kHandlers) + vector * kHandlerSize;
    at<uint64_t>(gpa(kIdt) + 16 * vector) = gate(handler, vector == 3 || vector == 4 ? 3 : 0);
    at<uint64_t>(gpa(kIdt) + 16 * vector + 8) = handler >> 32;
  }
  at<uint64_t>(gpa(kTables) + kTss + 4) = linear(kHandlerStack) + kPage;  // RSP0
  at<uint16_t>(gpa(kTables) + kTss + 102) = kTssLimit + 1;                // no I/O permission bitmap
}

cpu::Segment Guest::segment(uint16_t selector) const {
  const bool local = selector & 4;
  const unsigned offset = selector & 0xfff8;
  if (offset >= (local ? sizeof kLocalSegments / sizeof *kLocalSegments : kGdtEntries) * 8 || selector < 4)
    return {selector, 0, 0, 0};
  uint64_t d;
  std::memcpy(&d, &ram_[gpa(kTables) + (local ? kLdt : kGdt) + offset], 8);
  auto limit = static_cast<uint32_t>((d & 0xffff) | (d >> 32 & 0xf0000));
  auto attrib = static_cast<uint16_t>((d >> 40 & 0xff) | (d >> 44 & 0xf00));
  if (attrib & 0x800) limit = limit << 12 | 0xfff;
  return {selector, attrib, limit, (d >> 16 & 0xffffff) | (d >> 32 & 0xff000000)};
}

void Guest::enter(const Case& c) {
  cpu::State& s = cpu_.state();
  std::memcpy(s.gpr, c.gpr, sizeof c.gpr);
  s.rip = c.rip - codeBase(c);
  s.rflags = c.rflags | (c.singleStep ? cpu::kTF : 0);
  for (int i = 0; i < 6; i++) s.seg[i] = segment(c.selector[i]);
  s.ldtr = {kLdtSelector, 0x82, sizeof kLocalSegments / sizeof *kLocalSegments * 8 - 1, linear(kTables) + kLdt};
  s.tr = {kTssSelector, 0x8b, kTssLimit, linear(kTables) + kTss};
  s.gdtr = {linear(kTables) + kGdt, kGdtEntries * 8 - 1};
  s.idtr = {linear(kIdt), kPage - 1};
  s.cr0 = cpu::kPG | cpu::kAM | cpu::kWP | cpu::kNE | cpu::kET | cpu::kMP | cpu::kPE;
  s.cr2 = 0;
  s.cr3 = gpa(kPml4);
  s.cr4 = cpu::kPAE | cpu::kOSFXSR | cpu::kOSXMMEXCPT | cpu::kFSGSBASE | (hostComponents_ ? cpu::kOSXSAVE : 0);
  s.xcr0 = hostComponents_ & hostModel().xcr0;
  s.dr6 = 0xffff0ff0;
  s.dr7 = 0x400;
  s.efer = cpu::kSCE | cpu::kLME | cpu::kLMA | cpu::kNXE;
  s.cpl = 3;
  s.fpu = c.fpu;
  s.interruptShadow = s.nmiBlocked = false;
}

void Guest::leave(const Case& c, cpu::ExitKind exit, Outcome& out) {
  const cpu::State& s = cpu_.state();
  std::memcpy(out.gpr, s.gpr, sizeof out.gpr);
  out.fpu = s.fpu;
  for (int i = 0; i < 6; i++) out.selector[i] = s.seg[i].selector;
  out.cr2 = s.cr2;
  out.vector = kNoVector + static_cast<uint16_t>(exit);
  out.rip = s.rip;
  out.rflags = s.rflags;
  out.error = 0;
  if (exit == cpu::ExitKind::Refused) {  // what a hypervisor turns into #UD
    out.vector = 6;
    out.rflags |= cpu::kRF;
  } else if (exit == cpu::ExitKind::Halt && s.cpl == 0) {
    // SS, RSP, RFLAGS, CS, RIP and perhaps an error code, downwards from the top of the handlers' stack.
    constexpr uint64_t kFrame = 5 * 8;
    const uint64_t top = gpa(kHandlerStack) + kPage;
    out.vector = static_cast<uint16_t>((s.rip - linear(kHandlers)) / kHandlerSize);
    out.selector[Seg::SS] = at<uint16_t>(top - 8);
    out.gpr[Gpr::RSP] = at<uint64_t>(top - 16);
    out.rflags = at<uint64_t>(top - 24);
    out.selector[Seg::CS] = at<uint16_t>(top - 32);
    out.rip = at<uint64_t>(top - 40);
    if (linear(kHandlerStack) + kPage - s.gpr[Gpr::RSP] > kFrame) out.error = at<uint32_t>(top - 48);
  }
  uint8_t* memory = &ram_[gpa(kMemoryFrames)];
  out.memoryChanged = std::memcmp(memory, &initial_, sizeof initial_) != 0;
  if (out.memoryChanged) {
    std::memcpy(&out.memory, memory, sizeof out.memory);
    std::memcpy(memory, &initial_, sizeof initial_);
  }
  std::memset(&ram_[gpa(kCodeFrames) + (c.rip - kCode)], 0xcc, std::min<uint64_t>(c.length, kCode + kCodeSize - c.rip));
}

void Guest::run(const Case& c, Outcome& out) {
  std::memcpy(&ram_[gpa(kCodeFrames) + (c.rip - kCode)], c.code,
              std::min<uint64_t>(c.length, kCode + kCodeSize - c.rip));
  applyPatch(c, &ram_[gpa(kMemoryFrames)]);
  enter(c);
  leave(c, cpu_.run(kBudget).kind, out);
}

}  // namespace nvmm::oracle
