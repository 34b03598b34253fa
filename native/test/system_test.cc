// The system half of the software CPU: modes, paging, segments, events, tasks, system instructions, entry checks. Small
// guests run with the public interface only; what they must see is taken from the manuals.
//
// In every fixture vector n leads to a handler that does OUT n,AL; IRET: the port tells which exception came.
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "mock/cpu/cpu.h"

namespace {

using namespace nvmm::cpu;

int failures = 0, checks = 0;
const char* currentTest = "";
const char* currentVendor = "";

template <typename A, typename B>
void equal(A actual, B expected, const char* what, int line = __builtin_LINE()) {
  ++checks;
  const uint64_t a = static_cast<uint64_t>(actual), e = static_cast<uint64_t>(expected);
  if (a == e) return;
  ++failures;
  std::printf("%s (%s), line %d: %s is %" PRIx64 ", expected %" PRIx64 "\n", currentTest, currentVendor, line, what, a,
              e);
}
void equal(const std::string& actual, const char* expected, const char* what, int line = __builtin_LINE()) {
  ++checks;
  if (actual == expected) return;
  ++failures;
  std::printf("%s (%s), line %d: %s is \"%s\", expected \"%s\"\n", currentTest, currentVendor, line, what,
              actual.c_str(), expected);
}

constexpr uint64_t kRamSize = 0x100000;

struct Ram : PhysicalMemory {
  std::vector<uint8_t> bytes = std::vector<uint8_t>(kRamSize + 4096);
  uint8_t prot[kRamSize / 4096];
  uint8_t* base = bytes.data() + (-reinterpret_cast<uintptr_t>(bytes.data()) & 4095);

  Ram() { std::memset(prot, kReadable | kWritable | kExecutable, sizeof(prot)); }
  HostPage page(uint64_t gpa) override {
    if (gpa >= kRamSize || !prot[gpa / 4096]) return {nullptr, 0};
    return {base + (gpa & ~uint64_t{4095}), prot[gpa / 4096]};
  }
};

// A descriptor with the rights laid out as in Segment::attrib (G is applied to the limit by the processor).
uint64_t descriptor(uint32_t base, uint32_t limit, unsigned attrib) {
  return (limit & 0xffff) | uint64_t{base & 0xffffff} << 16 | uint64_t{attrib & 0xff} << 40 |
         uint64_t{limit >> 16 & 0xf} << 48 | uint64_t{attrib >> 8 & 0xf} << 52 | uint64_t{base >> 24} << 56;
}
// A gate: type, DPL and P as in attrib.
uint64_t gate(unsigned selector, uint32_t offset, unsigned attrib, unsigned parameters = 0) {
  return (offset & 0xffff) | uint64_t{selector} << 16 | uint64_t{parameters} << 32 | uint64_t{attrib} << 40 |
         uint64_t{offset >> 16} << 48;
}

// Selectors of the fixtures' GDT; 60 and up are free.
constexpr uint64_t kGdt = 0x4000, kIdt = 0x5000, kTss = 0x6000, kPml4 = 0x10000, kPdpt = 0x11000, kPd = 0x12000,
                   kPt = 0x13000;

bool allNative(uint32_t msr, bool) { return msr != 0x1b; }

struct Machine {
  Ram ram;
  Vendor vendor;
  Cpu cpu;
  State& s;
  const Exit* exit = nullptr;

  explicit Machine(Vendor v) : vendor(v), cpu(ram, model(v)), s(cpu.state()) {
    cpu.controls().nativeMsr = allNative;
    s.rflags = 2;
    s.cr0 = 0x60000010 | (intel() ? kNE : 0);
    for (Segment& seg : s.seg) seg = {0, 0x93, 0xffff, 0};
    s.ldtr = {0, 0x82, 0xffff, 0};
    s.tr = {0, 0x83, 0xffff, 0};
    s.gdtr = s.idtr = {0, 0xffff};
    s.dr6 = 0xffff0ff0;
    s.dr7 = 0x400;
    s.pat = 0x0007040600070406;
    s.xcr0 = 1;
    s.gpr[RSP] = 0x8000;
    s.rip = 0x1000;
  }
  bool intel() const { return vendor == Vendor::Intel; }

  template <typename T>
  T get(uint64_t at) const {
    T value;
    std::memcpy(&value, ram.base + at, sizeof(T));
    return value;
  }
  template <typename T>
  Machine& put(uint64_t at, T value) {
    std::memcpy(ram.base + at, &value, sizeof(T));
    return *this;
  }
  Machine& hex(uint64_t at, const char* digits) {
    for (; *digits; digits += 2) {
      unsigned byte;
      std::sscanf(digits, "%2x", &byte);
      ram.base[at++] = static_cast<uint8_t>(byte);
    }
    return *this;
  }
  Machine& code16(uint64_t at, const char*, const char* bytes) { return hex(at, bytes); }
  Machine& code32(uint64_t at, const char*, const char* bytes) { return hex(at, bytes); }
  Machine& code64(uint64_t at, const char*, const char* bytes) { return hex(at, bytes); }
  Machine& gdt(unsigned selector, uint64_t value) { return put(kGdt + selector, value); }
  Machine& unmap(uint64_t gpa) { return prot(gpa, 0); }
  Machine& prot(uint64_t gpa, uint8_t value) {
    ram.prot[gpa / 4096] = value;
    cpu.flushMemory();
    return *this;
  }

  void handlers(bool rexIret) {
    for (unsigned n = 0; n < 256; ++n) {
      uint8_t bytes[4] = {0xe6, static_cast<uint8_t>(n), 0xcf, 0x90};
      if (rexIret) bytes[2] = 0x48, bytes[3] = 0xcf;
      std::memcpy(ram.base + 0x3000 + n * 4, bytes, 4);
    }
  }
  Machine& real() {
    handlers(false);
    for (unsigned n = 0; n < 256; ++n) put<uint32_t>(n * 4, 0x3000 + n * 4);
    return *this;
  }
  void tables() {
    const uint64_t entries[] = {0,
                                descriptor(0, 0xfffff, 0xc9b),  // 08 code
                                descriptor(0, 0xfffff, 0xc93),  // 10 data
                                descriptor(0, 0xfffff, 0xcfb),  // 18 user code
                                descriptor(0, 0xfffff, 0xcf3),  // 20 user data
                                descriptor(0, 0xfffff, 0xafb),  // 28 user 64-bit code
                                descriptor(0, 0xfffff, 0xa9b),  // 30 64-bit code
                                descriptor(0, 0xfffff, 0xc93),  // 38 data
                                descriptor(kTss, 0x67, 0x89),   // 40 TSS
                                0,
                                descriptor(0, 0xffff, 0x9b),   // 50 16-bit code
                                descriptor(0, 0xffff, 0x93)};  // 58 16-bit data
    for (unsigned i = 0; i < 12; ++i) gdt(i * 8, entries[i]);
    s.gdtr = {kGdt, 0xff};
    s.tr = {0x40, 0x8b, 0x67, kTss};
    put<uint16_t>(kTss + 0x66, 0x68);
  }
  void segments(uint16_t cs, uint16_t codeAttrib, uint16_t ds) {
    for (Segment& seg : s.seg) seg = {ds, 0xc93, 0xffffffff, 0};
    s.seg[CS] = {cs, codeAttrib, 0xffffffff, 0};
  }
  // Flat protected mode, no paging. Stack of privilege 0: 10:7C00.
  Machine& prot32() {
    handlers(false);
    tables();
    for (unsigned n = 0; n < 256; ++n) put(kIdt + n * 8, gate(0x08, 0x3000 + n * 4, n < 128 ? 0x8e : 0xee));
    s.idtr = {kIdt, 0x7ff};
    put<uint32_t>(kTss + 4, 0x7c00).put<uint32_t>(kTss + 8, 0x10);
    segments(0x08, 0xc9b, 0x10);
    s.cr0 = 0x11 | (intel() ? kNE : 0);
    return *this;
  }
  // 64-bit mode: the first 2 MiB by 4 KiB pages, 1:1, the rest of the first GiB by 2 MiB pages; all user, writable.
  Machine& long64() {
    handlers(true);
    tables();
    for (unsigned n = 0; n < 256; ++n) {
      put(kIdt + n * 16, gate(0x30, 0x3000 + n * 4, n < 128 ? 0x8e : 0xee)).put<uint64_t>(kIdt + n * 16 + 8, 0);
    }
    s.idtr = {kIdt, 0xfff};
    put<uint64_t>(kTss + 4, 0x7c00);
    put<uint64_t>(kPml4, kPdpt | 7).put<uint64_t>(kPdpt, kPd | 7).put<uint64_t>(kPd, kPt | 7);
    for (uint64_t i = 1; i < 512; ++i) put<uint64_t>(kPd + i * 8, i << 21 | 0x87);
    for (uint64_t i = 0; i < 512; ++i) put<uint64_t>(kPt + i * 8, i << 12 | 7);
    segments(0x30, 0xa9b, 0x38);
    s.cr0 = 0x80000011 | kNE;
    s.cr3 = kPml4;
    s.cr4 = 0x620;
    s.efer = 0x501;
    return *this;
  }
  // Privilege 3 with the flat user segments.
  Machine& user() {
    const bool wide = s.efer & kLMA;
    for (Segment& seg : s.seg) seg = {0x23, 0xcf3, 0xffffffff, 0};
    s.seg[CS] = wide ? Segment{0x2b, 0xafb, 0xffffffff, 0} : Segment{0x1b, 0xcfb, 0xffffffff, 0};
    s.gpr[RSP] = 0x9000;
    s.cpl = 3;
    return *this;
  }

  std::string run(uint64_t budget = 100000) {
    exit = &cpu.run(budget);
    char text[80];
    switch (exit->kind) {
      case ExitKind::Io:
        std::snprintf(text, sizeof(text), "%s %x", exit->io.in ? "in" : "out", exit->io.port);
        return text;
      case ExitKind::Memory:
        std::snprintf(text, sizeof(text), "%s %" PRIx64,
                      exit->memory.access == Fault::Read    ? "read"
                      : exit->memory.access == Fault::Write ? "write"
                                                            : "execute",
                      exit->memory.gpa);
        return text;
      case ExitKind::Budget: return "budget";
      case ExitKind::Halt: return "halt";
      case ExitKind::Cpuid: return "cpuid";
      case ExitKind::Rdmsr: return "rdmsr";
      case ExitKind::Wrmsr: return "wrmsr";
      case ExitKind::Invd: return "invd";
      case ExitKind::Monitor: return "monitor";
      case ExitKind::Mwait: return "mwait";
      case ExitKind::Xsetbv: return "xsetbv";
      case ExitKind::Cr0Write: return "cr0 write";
      case ExitKind::Cr4Write: return "cr4 write";
      case ExitKind::Cr8Read: return "cr8 read";
      case ExitKind::Cr8Write: return "cr8 write";
      case ExitKind::Iret: return "iret";
      case ExitKind::TaskSwitch: return "task switch";
      case ExitKind::Refused: return "refused";
      case ExitKind::InterruptWindow: return "interrupt window";
      case ExitKind::NmiWindow: return "nmi window";
      case ExitKind::Shutdown: return "shutdown";
      case ExitKind::InvalidState: return "invalid state";
    }
    return "?";
  }
  // Goes on behind the instruction that exited.
  std::string resume() {
    s.rip = exit->nextRip;
    return run();
  }
  // The words on top of the stack, in the size of the handlers' frames.
  uint64_t top(unsigned index) const {
    return s.efer & kLMA ? get<uint64_t>(s.gpr[RSP] + index * 8) : get<uint32_t>(s.gpr[RSP] + index * 4);
  }
};

// ---- Modes
// ------------------------------------------------------------------------------------------------------------
void realToLong(Vendor v) {
  Machine m(v);
  m.real().long64();
  m.segments(0, 0x93, 0);
  for (Segment& seg : m.s.seg) seg = {0, 0x93, 0xffff, 0};
  m.s.cr0 = 0x60000010 | kNE;
  m.s.cr3 = m.s.cr4 = m.s.efer = 0;
  m.s.gdtr = m.s.idtr = {0, 0xffff};
  m.put<uint16_t>(0x2f00, 0xff).put<uint32_t>(0x2f02, kGdt).put<uint16_t>(0x2f08, 0xfff).put<uint32_t>(0x2f0a, kIdt);
  m.code16(0x1000,
           "cli; lgdt [0x2f00]; lidt [0x2f08]; mov eax,0x620; mov cr4,eax; mov eax,0x10000; mov cr3,eax; "
           "mov ecx,0xc0000080; rdmsr; or eax,0x101; wrmsr; mov eax,cr0; or eax,0x80000001; mov cr0,eax; "
           "jmp dword 0x30:0x1100",
           "fa0f0116002f0f011e082f66b8200600000f22e066b8000001000f22d866b9800000c00f32660d010100000f300f20c0660d0100008"
           "00f22c066ea001100003000");
  m.code64(0x1100, "mov ax,0x38; mov ss,ax; mov rsp,0x8000; mov rbx,0x123456789abcdef0; push rbx; int 0x90",
           "66b838008ed0bc0080000048bbf0debc9a7856341253cd90");
  equal(m.run(), "out 90", "exit");
  equal(m.s.efer, 0x501, "EFER");
  equal(m.s.gpr[RBX], 0x123456789abcdef0, "RBX");
  equal(m.get<uint64_t>(0x7ff8), 0x123456789abcdef0, "pushed value");
  equal(m.s.seg[CS].selector, 0x30, "CS");
}

void longModeRules(Vendor v) {
  {
    Machine m(v);  // PG with LME but without PAE
    m.prot32().s.efer = kLME;
    m.code32(0x1000, "mov eax,cr0; bts eax,31; mov cr0,eax", "0f20c00fbae81f0f22c0");
    equal(m.run(), "out d", "PG without PAE");
    equal(m.top(0), 0, "error");
  }
  {
    Machine m(v);  // leaving paging in 64-bit code
    m.long64().code64(0x1000, "mov rax,cr0; btr rax,31; mov cr0,rax", "0f20c0480fbaf01f0f22c0");
    equal(m.run(), "out d", "PG cleared in 64-bit mode");
  }
  {
    Machine m(v);
    m.long64().code64(0x1000, "mov rax,cr4; btr rax,5; mov cr4,rax", "0f20e0480fbaf0050f22e0");
    equal(m.run(), "out d", "PAE cleared in long mode");
  }
  {
    Machine m(v);  // back from compatibility mode to legacy mode
    m.long64();
    m.segments(0x08, 0xc9b, 0x10);
    m.code32(0x1000, "mov eax,cr0; btr eax,31; mov cr0,eax; mov ecx,0xc0000080; rdmsr; hlt",
             "0f20c00fbaf01f0f22c0b9800000c00f32f4");
    equal(m.run(), "halt", "PG cleared in compatibility mode");
    equal(m.s.gpr[RAX], 0x101, "EFER");
  }
  if (v == Vendor::Intel) {
    Machine m(v);  // a 16-bit TSS in TR
    m.long64().s.cr0 = 0x11 | kNE;
    m.segments(0x08, 0xc9b, 0x10);
    m.s.efer = 0x101;
    m.s.tr.attrib = 0x83;
    m.s.idtr.limit = 0;
    m.code32(0x1000, "mov eax,cr0; bts eax,31; mov cr0,eax; hlt", "0f20c00fbae81f0f22c0f4");
    equal(m.run(), "shutdown", "16-bit TSS");
  }
}

void virtual8086(Vendor v) {
  Machine m(v);
  m.prot32();
  m.put<uint16_t>(kTss + 0x66, 0x68);
  m.s.tr.limit = 0x2067;
  m.code32(0x1000,
           "push dword 0x0600; push dword 0x0500; push dword 0x0400; push dword 0x0300; push dword 0x0200; "
           "push dword 0x100; push dword 0x23002; push dword 0x0800; push dword 0x10; iretd",
           "680006000068000500006800040000680003000068000200006800010000680230020068000800006a10cf");
  m.code16(0x8010, "mov ax,ds; mov bx,fs; push ax; pop cx; int 0x80", "8cd88ce35059cd80");
  equal(m.run(), "out 80", "INT in virtual-8086 mode");
  equal(m.s.gpr[RAX] & 0xffff, 0x400, "DS");
  equal(m.s.gpr[RBX] & 0xffff, 0x500, "FS");
  equal(m.s.gpr[RCX] & 0xffff, 0x400, "CX");
  equal(m.s.gpr[RSP], 0x7c00 - 36, "ESP");
  const uint32_t frame[] = {0x18, 0x800, 0x23002, 0x100, 0x200, 0x300, 0x400, 0x500, 0x600};
  for (unsigned i = 0; i < 9; ++i) equal(m.top(i), frame[i], "frame");
  equal(m.s.seg[DS].selector, 0, "DS");
  equal(m.s.seg[DS].present(), false, "DS present");
  equal(m.s.rflags & kVM, 0, "VM");
  equal(m.s.cpl, 0, "CPL");
  m.s.gpr[RSP] = 0x7c00 - 36;  // back again, to IOPL 0: INT n is #GP(0) there
  m.put<uint32_t>(0x7c00 - 28, 0x20002).put<uint32_t>(0x7c00 - 36, 0x10);
  equal(m.resume(), "out d", "INT with IOPL 0");
  equal(m.top(0), 0, "error");
  equal(m.top(1), 0x16, "EIP");
}

void vmeRedirection(Vendor v) {
  Machine m(v);
  m.prot32().s.cr4 = kVME;
  m.put<uint16_t>(kTss + 0x66, 0x88);  // redirection bitmap at 68
  m.s.tr.limit = 0x2087;
  m.put<uint32_t>(0x80 * 4, 0x09000020);  // the program's own IVT: 900:20
  m.code32(0x1000,
           "push dword 0; push dword 0; push dword 0; push dword 0; push dword 0; "
           "push dword 0x100; push dword 0xa0002; push dword 0x0800; push dword 0x10; iretd",
           "6a006a006a006a006a0068000100006802000a0068000800006a10cf");
  m.code16(0x8010, "int 0x80; int 0x81", "cd80cd81");
  m.code16(0x9020, "pushf; pop ax; mov bp,sp; mov bx,[bp+4]; iret", "9c5889e58b5e04cf");
  m.put<uint8_t>(kTss + 0x68 + 0x10, 2);  // INT 81 is not redirected
  equal(m.run(), "out d", "INT that is not redirected");
  equal(m.top(1), 0x12, "EIP");
  equal(m.s.gpr[RBX] & 0xffff, 0x3202, "FLAGS pushed: IF is VIF");
  equal(m.top(3) & kVIF, kVIF, "VIF after IRET");
  equal(m.s.gpr[RAX] & kIF, 0, "IF in the handler: VIF");
}

void realModeLimits(Vendor v) {
  Machine m(v);
  m.real().code16(0x1000, "mov bx,0xffff; mov ax,[bx]", "bbffff8b07");
  equal(m.run(), "out d", "a word at FFFF");
  equal(m.get<uint16_t>(0x7ffa), 0x1003, "IP");
  Machine n(v);
  n.real().code16(0x1000, "mov bp,0xffff; mov ax,[bp]", "bdffff8b4600");
  equal(n.run(), "out c", "the same in SS");
}

// ---- Paging
// -----------------------------------------------------------------------------------------------------------
struct PagingCase {
  const char* what;
  uint64_t entry;           // of the page 9000
  uint64_t cr0, cr4, efer;  // to be added
  bool user;
  uint64_t flags;
  const char* code;  // hex
  int error;         // of #PF, or -1: the access works
};

void pagingFaults(Vendor v) {
  const char* kRead = "8b042500900000f4";   // mov eax,[0x9000]; hlt
  const char* kWrite = "89042500900000f4";  // mov [0x9000],eax; hlt
  const char* kCall = "ff242500800000";     // jmp [0x8000], which holds 9000
  const PagingCase cases[] = {
      {"not present, read", 0x9006, 0, 0, 0, false, 0, kRead, 0},
      {"not present, write", 0x9006, 0, 0, 0, false, 0, kWrite, 2},
      {"not present, user read", 0x9006, 0, 0, 0, true, 0, kRead, 4},
      {"not present, user write", 0x9006, 0, 0, 0, true, 0, kWrite, 6},
      {"not present, fetch", 0x9006, 0, 0, 0, false, 0, kCall, 0},
      {"not present, fetch, NXE", 0x9006, 0, 0, kNXE, false, 0, kCall, 0x10},
      {"not present, user fetch, NXE", 0x9006, 0, 0, kNXE, true, 0, kCall, 0x14},
      {"not present, fetch, SMEP", 0x9006, 0, kSMEP, 0, false, 0, kCall, 0x10},
      {"read-only, supervisor", 0x9005, 0, 0, 0, false, 0, kWrite, -1},
      {"read-only, supervisor, WP", 0x9005, kWP, 0, 0, false, 0, kWrite, 3},
      {"read-only, user", 0x9005, 0, 0, 0, true, 0, kWrite, 7},
      {"read-only, user read", 0x9005, kWP, 0, 0, true, 0, kRead, -1},
      {"supervisor page, user read", 0x9003, 0, 0, 0, true, 0, kRead, 5},
      {"supervisor page, user fetch", 0x9003, 0, 0, kNXE, true, 0, kCall, 0x15},
      {"NX", 0x8000000000009007, 0, 0, kNXE, false, 0, kCall, 0x11},
      {"NX, user", 0x8000000000009007, 0, 0, kNXE, true, 0, kCall, 0x15},
      {"NX, read", 0x8000000000009007, 0, 0, kNXE, false, 0, kRead, -1},
      {"NX is reserved without NXE", 0x8000000000009007, 0, 0, 0, false, 0, kRead, 9},
      {"address too wide", 0x0008000000009007, 0, 0, 0, false, 0, kRead, 9},
      {"address too wide, user write", 0x0008000000009007, 0, 0, 0, true, 0, kWrite, 15},
      {"user page, fetch, SMEP", 0x9007, 0, kSMEP, 0, false, 0, kCall, 0x11},
      {"user page, read, SMAP", 0x9007, 0, kSMAP, 0, false, 0, kRead, 1},
      {"user page, write, SMAP", 0x9007, 0, kSMAP, 0, false, 0, kWrite, 3},
      {"user page, read, SMAP, AC", 0x9007, 0, kSMAP, 0, false, kAC, kRead, -1},
      {"supervisor page, SMAP", 0x9003, 0, kSMAP, 0, false, 0, kRead, -1},
      {"user page, user read, SMAP", 0x9007, 0, kSMAP, 0, true, 0, kRead, -1},
  };
  for (const PagingCase& c : cases) {
    Machine m(v);
    m.long64();
    for (unsigned i = 0; i < 512; ++i) {  // only what the program at CPL 3 touches is a user page
      if (i != 1 && i != 8) m.put<uint64_t>(kPt + i * 8, i << 12 | 3);
    }
    if (!c.user) m.put<uint64_t>(kPt + 8, 0x1003).put<uint64_t>(kPt + 64, 0x8003);
    m.put<uint64_t>(kPt + 9 * 8, c.entry).put<uint64_t>(0x8000, 0x9000).put<uint8_t>(0x9000, 0xf4);
    if (c.user) m.user();
    m.s.cr0 |= c.cr0;
    m.s.cr4 |= c.cr4;
    m.s.efer |= c.efer;
    m.s.rflags |= c.flags;
    m.hex(0x1000, c.code);
    const std::string outcome = m.run();
    // Without a fault comes HLT, which is #GP at privilege 3.
    equal(outcome, c.error >= 0 ? "out e" : c.user ? "out d" : "halt", c.what);
    if (c.error < 0 || outcome != "out e") continue;
    equal(m.s.cr2, 0x9000, c.what);
    equal(m.top(0), static_cast<unsigned>(c.error), c.what);
    equal(m.top(1), std::string(c.code) == kCall ? 0x9000 : 0x1000, c.what);
    equal(m.top(3) & kRF, kRF, "RF of the fault");
  }
}

// Privilege 3 jumps to the page fault's handler: what is executed there next is not what the branch has led to.
void jumpToHandler(Vendor v) {
  constexpr uint64_t kPageFault = 0x3000 + 14 * 4;
  Machine m(v);
  m.long64().user();
  m.put<uint64_t>(kPt + 3 * 8, 0x3003);
  m.code64(0x1000, "jmp 0x3038", "e933200000");
  equal(m.run(), "out e", "exit");
  equal(m.s.cr2, kPageFault, "CR2");
  equal(m.s.cpl, 0, "CPL");
}

void accessedAndDirty(Vendor v) {
  Machine m(v);
  m.long64();
  m.put<uint64_t>(kPdpt + 8, 0x87);   // the second GiB again at 0
  m.put<uint64_t>(kPd + 0x18, 0x87);  // and 600000
  m.code64(0x1000,
           "mov al,[0x8000]; mov [0x9000],al; mov ebx,0x4000a123; mov al,[rbx]; "
           "mov ebx,0x60c123; mov al,[rbx]; hlt",
           "8a04250080000088042500900000bb23a100408a03bb23c160008a03f4");
  m.put<uint8_t>(0xa123, 0x11).put<uint8_t>(0xc123, 0x22);
  equal(m.run(), "halt", "exit");
  equal(m.s.gpr[RAX] & 0xff, 0x22, "AL");
  equal(m.get<uint64_t>(kPml4), kPdpt | 0x27, "PML4E");
  equal(m.get<uint64_t>(kPdpt), kPd | 0x27, "PDPTE");
  equal(m.get<uint64_t>(kPd), kPt | 0x27, "PDE");
  equal(m.get<uint64_t>(kPt + 8 * 8), 0x8027, "PTE read");
  equal(m.get<uint64_t>(kPt + 9 * 8), 0x9067, "PTE written");
  equal(m.get<uint64_t>(kPt + 10 * 8), 0xa007, "PTE not used");
  equal(m.get<uint64_t>(kPdpt + 8), 0xa7, "1 GiB page read");
  equal(m.get<uint64_t>(kPd + 0x18), 0xa7, "2 MiB page read");
}

void pageCrossing(Vendor v) {
  Machine m(v);
  m.long64().put<uint64_t>(kPt + 9 * 8, 0x9005).s.cr0 |= kWP;
  m.code64(0x1000, "mov rax,-1; mov [0x8ffc],rax", "48c7c0ffffffff48890425fc8f0000");
  equal(m.run(), "out e", "write into a read-only page");
  equal(m.s.cr2, 0x9000, "CR2");
  equal(m.top(0), 3, "error");
  equal(m.get<uint32_t>(0x8ffc), 0, "first half");
  Machine n(v);
  n.long64().put<uint64_t>(kPt + 8 * 8, 0x9007).put<uint64_t>(kPt + 9 * 8, 0x8007);  // the two change places
  n.code64(0x1000, "mov rax,0x1122334455667788; mov [0x8ffd],rax; mov rbx,[0x8ffd]; hlt",
           "48b8887766554433221148890425fd8f0000488b1c25fd8f0000f4");
  equal(n.run(), "halt", "two pages");
  equal(n.s.gpr[RBX], 0x1122334455667788, "RBX");
  equal(n.get<uint16_t>(0x9ffd), 0x7788, "first part");
  equal(n.get<uint32_t>(0x8000), 0x22334455, "second part");
}

void legacyPaging(Vendor v) {
  Machine m(v);  // 4 MiB pages, bits 39..32 of the address beyond the RAM
  m.prot32().s.cr0 |= kPG;
  m.s.cr3 = 0x20000;
  m.s.cr4 = kPSE;
  m.put<uint32_t>(0x20000, 0x87).put<uint32_t>(0x20004, 0x00006087).put<uint32_t>(0x20008, 0x00200087);
  m.code32(0x1000, "mov eax,[0x412344]; mov eax,[0x800000]", "a144234100a100008000");
  equal(m.run(), "read 300012344", "PSE-36");
  m.s.rip = 0x1005;
  equal(m.run(), "out e", "reserved bit 21");
  equal(m.top(0), 9, "error");
  equal(m.s.cr2, 0x800000, "CR2");

  Machine n(v);  // PAE, switched on by the guest
  n.prot32();
  n.put<uint64_t>(0x20000, 0x21001).put<uint64_t>(0x21000, 0x22007).put<uint64_t>(0x21008, 0x8000000000000087);
  for (uint64_t i = 0; i < 512; ++i) n.put<uint64_t>(0x22000 + i * 8, i << 12 | 7);
  n.code32(0x1000,
           "mov ecx,0xc0000080; mov eax,0x800; xor edx,edx; wrmsr; mov eax,0x20; mov cr4,eax; mov eax,0x20000; "
           "mov cr3,eax; mov eax,cr0; or eax,0x80000000; mov cr0,eax; mov [0x9000],eax; mov eax,[0x209000]; "
           "jmp 0x200010",
           "b9800000c0b80008000031d20f30b8200000000f22e0b8000002000f22d80f20c00d000000800f22c0a300900000a100902000e9d8e"
           "f1f00");
  equal(n.run(), "out e", "fetch from an NX page");
  equal(n.top(0), 0x11, "error");
  equal(n.get<uint64_t>(0x21000), 0x22027, "PDE");
  equal(n.get<uint64_t>(0x21008), 0x80000000000000a7, "PDE of 2 MiB");
  equal(n.get<uint64_t>(0x22048), 0x9067, "PTE");
  equal(n.s.gpr[RAX], n.get<uint32_t>(0x9000), "EAX through the 2 MiB page");

  if (v == Vendor::Intel) {
    Machine p(v);  // a reserved bit in a PDPTE is found at the load
    p.prot32().put<uint64_t>(0x20000, 0x21003);
    p.s.cr4 = kPAE;
    p.s.cr3 = 0x20000;
    p.code32(0x1000, "mov eax,cr0; or eax,0x80000000; mov cr0,eax", "0f20c00d000000800f22c0");
    equal(p.run(), "out d", "reserved bit of a PDPTE");
    equal(p.s.cr0 & kPG, 0, "PG");
  }
}

void translationChanges(Vendor v) {
  Machine m(v);  // part of a large page, and INVLPG at another part
  m.long64().put<uint64_t>(kPd + 8, 0x87);
  m.put<uint8_t>(0x9000, 1).put<uint8_t>(0xa000, 2).put<uint64_t>(0x23000 + 9 * 8, 0xa007);
  m.code64(0x1000,
           "mov al,[0x209000]; mov qword [0x12008],0x23007; invlpg [0x20f000]; mov bl,[0x209000]; "
           "mov qword [0x23048],0x9007; mov rcx,cr3; mov cr3,rcx; mov dl,[0x209000]; hlt",
           "8a04250090200048c7042508200100073002000f013c2500f020008a1c250090200048c7042548300200079000000f20d90f22d98a1"
           "42500902000f4");
  equal(m.run(), "halt", "exit");
  equal(m.s.gpr[RAX] & 0xff, 1, "before");
  equal(m.s.gpr[RBX] & 0xff, 2, "after INVLPG");
  equal(m.s.gpr[RDX] & 0xff, 1, "after CR3");
}

void physicalFaults(Vendor v) {
  Machine m(v);
  m.long64().code64(0x1000, "mov ebx,0x100000; add dword [rbx+0x123],1; cmp dword [rbx],1; push qword [rbx]",
                    "bb0000100083832301000001833b01ff33");
  equal(m.run(), "write 100123", "read-modify-write");
  equal(m.s.rip, 0x1005, "RIP");
  equal(m.s.rflags & kRF, m.intel() ? kRF : 0, "RF");
  equal(m.exit->memory.length >= 7, true, "instruction bytes");
  equal(std::memcmp(m.exit->memory.bytes, "\x83\x83\x23\x01\x00\x00\x01", 7), 0, "instruction bytes");
  m.s.rip = 0x100c;
  equal(m.run(), "read 100000", "CMP");
  m.s.rip = 0x100f;
  equal(m.run(), "read 100000", "PUSH");

  Machine n(v);  // tables that cannot be written
  n.long64().prot(kPt, kReadable).code64(0x1000, "hlt", "f4");
  equal(n.run(), "write 13008", "read-only page table");
  equal(n.exit->memory.length, 0, "instruction bytes");
  n.prot(kPt, kReadable | kWritable);
  equal(n.run(), "halt", "once repaired");

  Machine p(v);
  p.long64().prot(0x9000, kReadable).code64(0x1000, "mov al,[0x9000]; mov [0x9000],al", "8a04250090000088042500900000");
  equal(p.run(), "write 9000", "read-only memory");
  equal(p.s.rip, 0x1007, "RIP");
}

// ---- Segments
// ---------------------------------------------------------------------------------------------------------
struct SegmentCase {
  const char* what;
  uint64_t entry;    // descriptor 60
  const char* code;  // hex, with the selector in AX: 60
  const char* outcome;
  int error;
};

void segmentAccess(Vendor v) {
  // 8e e0: mov fs,ax   8e d0: mov ss,ax
  const SegmentCase cases[] = {
      {"inside the limit", descriptor(0x9000, 0xfff, 0x93), "8ee064a1fc0f0000f4", "halt", -1},
      {"beyond the limit", descriptor(0x9000, 0xfff, 0x93), "8ee064a1fd0f0000", "out d", 0},
      {"write to read-only data", descriptor(0x9000, 0xfff, 0x91), "8ee064a300000000", "out d", 0},
      {"read from execute-only code", descriptor(0x9000, 0xfff, 0x99), "8ee0", "out d", 0x60},
      {"read from readable code", descriptor(0x9000, 0xfff, 0x9b), "8ee064a100000000f4", "halt", -1},
      {"write to code", descriptor(0x9000, 0xfff, 0x9b), "8ee064a300000000", "out d", 0},
      {"expand-down, above the limit", descriptor(0x9000, 0xfff, 0x97), "8ee064a100100000f4", "halt", -1},
      {"expand-down, below", descriptor(0x9000, 0xfff, 0x97), "8ee064a1ff0f0000", "out d", 0},
      {"expand-down of 64 KiB, above FFFF", descriptor(0x9000, 0xfff, 0x97), "8ee064a100000100", "out d", 0},
      {"expand-down of 4 GiB", descriptor(0x9000, 0xfff, 0x497), "8ee064a100000100f4", "halt", -1},
      {"page granularity", descriptor(0x9000, 1, 0x893), "8ee064a1fc1f0000f4", "halt", -1},
      {"page granularity, beyond", descriptor(0x9000, 1, 0x893), "8ee064a1fd1f0000", "out d", 0},
      {"not present", descriptor(0x9000, 0xfff, 0x13), "8ee0", "out b", 0x60},
      {"system descriptor", descriptor(0x9000, 0xfff, 0x82), "8ee0", "out d", 0x60},
      {"SS not writable", descriptor(0x9000, 0xfff, 0x91), "8ed0", "out d", 0x60},
      {"SS not present", descriptor(0x9000, 0xfff, 0x13), "8ed0", "out c", 0x60},
      {"SS of another privilege", descriptor(0x9000, 0xfff, 0xf3), "8ed0", "out d", 0x60},
      {"null SS", 0, "31c08ed0", "out d", 0},
      {"null FS may be loaded", 0, "31c08ee0f4", "halt", -1},
      {"null FS may not be used", 0, "31c08ee064a100000000", "out d", 0},
      {"beyond the table", 0, "66b800018ee0", "out d", 0x100},
      {"beyond the table, RPL", 0, "66b803018ee0", "out d", 0x100},
      {"no local table", 0, "66b804008ee0", "out d", 4},
  };
  for (const SegmentCase& c : cases) {
    Machine m(v);
    m.prot32().gdt(0x60, c.entry).hex(0x1000, c.code);
    m.s.ldtr = {0, 0, 0, 0};
    m.s.gpr[RAX] = 0x60;
    equal(m.run(), c.outcome, c.what);
    if (c.error >= 0) equal(m.top(0), static_cast<unsigned>(c.error), c.what);
    const bool loaded = m.s.seg[FS].selector == 0x60;
    if (loaded) equal(m.get<uint8_t>(kGdt + 0x65) & 1, 1, "accessed bit");
  }
}

void stackLimit(Vendor v) {
  Machine m(v);
  m.prot32().gdt(0x60, descriptor(0x7000, 0xfff, 0x493));
  m.code32(0x1000, "mov ax,0x60; mov ss,ax; mov esp,0x800; mov ebp,0xffe; mov eax,[ebp]",
           "66b860008ed0bc00080000bdfe0f00008b4500");
  equal(m.run(), "out c", "beyond the limit of SS");
  equal(m.get<uint32_t>(0x7800 - 12), 0x1010, "EIP");
  Machine n(v);  // a stack without room for the frame: the fault in it is double, and triple
  n.prot32().gdt(0x60, descriptor(0x7000, 0xfff, 0x493));
  n.code32(0x1000, "mov ax,0x60; mov ss,ax; mov esp,2; ud2", "66b860008ed0bc020000000f0b");
  equal(n.run(), "shutdown", "no room");
}

void alignmentCheck(Vendor v) {
  Machine m(v);
  m.long64().user().s.cr0 |= kAM;
  m.s.rflags |= kAC;
  m.code64(0x1000, "mov al,[0x9001]; mov ax,[0x9002]; mov eax,[0x9004]; mov eax,[0x9002]",
           "8a042501900000668b0425029000008b0425049000008b042502900000");
  equal(m.run(), "out 11", "misaligned");
  equal(m.top(0), 0, "error");
  equal(m.top(1), 0x1016, "RIP");
  Machine n(v);  // not at other privileges
  n.long64().s.cr0 |= kAM;
  n.s.rflags |= kAC;
  n.code64(0x1000, "mov eax,[0x9002]; hlt", "8b042502900000f4");
  equal(n.run(), "halt", "supervisor");

  struct Case {
    const char* what;
    const char* code;
    const char* outcome;
  };
  const Case cases[] = {
      {"FXSAVE, 1 byte off", "0fae042501900000", "out 11"},
      {"FXSAVE, 4 bytes off", "0fae042504900000", "out d"},
      {"MASKMOVDQU with an empty mask, 8 bytes off", "660fefc9bf08900000660ff7c1cd80", "out 80"},
      {"MASKMOVDQU, 4 bytes off", "660f76c9bf04900000660ff7c1", "out 11"},
  };
  for (const Case& c : cases) {
    Machine p(v);
    p.long64().user().hex(0x1000, c.code).s.cr0 |= kAM;
    p.s.rflags |= kAC;
    equal(p.run(), c.outcome, c.what);
  }
}

void canonicalAddresses(Vendor v) {
  Machine m(v);
  m.long64().code64(0x1000, "mov rbx,0x7ffffffffffd; mov eax,[rbx]", "48bbfdffffffff7f00008b03");
  equal(m.run(), "out d", "across the end of the lower half");
  Machine n(v);
  n.long64().code64(0x1000, "mov rbp,0x800000000000; mov eax,[rbp]", "48bd00000000008000008b4500");
  equal(n.run(), "out c", "with the stack segment");
  equal(n.top(0), 0, "error");
  Machine p(v);
  p.long64().code64(0x1000, "mov rax,0x800000000000; jmp rax", "48b80000000000800000ffe0");
  equal(p.run(), "out d", "jump");
  equal(p.top(1), 0x100a, "RIP");
  for (bool writable : {true, false}) {  // a call looks at its stack first, but pushes nothing
    Machine q(v);
    q.long64().user().code64(0x1000, "mov rax,0x800000000000; call rax", "48b80000000000800000ffd0");
    q.put<uint64_t>(0x8ff8, 0x5555).put<uint64_t>(kPt + 8 * 8, writable ? 0x8007 : 0x8005);
    equal(q.run(), writable ? "out d" : "out e", "call");
    equal(q.top(0), writable ? 0 : 7, "error");
    equal(q.top(1), 0x100a, "RIP");
    equal(q.top(4), 0x9000, "RSP");
    equal(q.get<uint64_t>(0x8ff8), 0x5555, "below the stack");
  }
}

// Where a size prefix means one thing on AMD's processors and another on Intel's.
void vendorsOperandSizes(Vendor v) {
  Machine m(v);  // MOVSXD of 16 bits reads 32 on AMD's: across the end of what there is
  m.long64().put<uint64_t>(kPt + 0xa * 8, 0).put<uint16_t>(0x9ffe, 0x8001);
  m.s.gpr[RAX] = 0x1122334455667788;
  m.code64(0x1000, "movsxd ax,[0x9ffe]; out 0x80,al", "66630425fe9f0000e680");
  equal(m.run(), m.intel() ? "out 80" : "out e", "MOVSXD of 16 bits from memory");
  equal(m.s.gpr[RAX], m.intel() ? 0x1122334455668001 : 0x1122334455667788, "AX");
  Machine n(v);
  n.long64().code64(0x1000, "movsxd ax,ecx; movsxd edx,ecx; data16 movsxd rbx,ecx; hlt", "6663c163d1664863d9f4");
  n.s.gpr[RCX] = 0x80018002;
  n.s.gpr[RAX] = n.s.gpr[RDX] = ~uint64_t{0};
  equal(n.run(), "halt", "MOVSXD");
  equal(n.s.gpr[RAX], 0xffffffffffff8002, "AX");
  equal(n.s.gpr[RDX], 0x80018002, "EDX");
  equal(n.s.gpr[RBX], 0xffffffff80018002, "RBX: REX.W comes before 66");

  // Far pointers with REX.W are m16:64 on Intel's processors, m16:32 on AMD's; a call pushes 64 bits on both.
  auto pointer = [v](Machine& machine) {
    if (v == Vendor::Intel)
      machine.put<uint64_t>(0x8000, 0x2000).put<uint16_t>(0x8008, 0x30);
    else
      machine.put<uint32_t>(0x8000, 0x2000).put<uint32_t>(0x8004, 0x30).put<uint16_t>(0x8008, 0x1f8);
  };
  Machine p(v);
  pointer(p.long64());
  p.code64(0x1000, "rex.w call far [0x8000]; hlt", "48ff1c2500800000f4").code64(0x2000, "rex.w retf", "48cb");
  equal(p.run(1), "budget", "far CALL with REX.W");
  equal(p.s.rip, 0x2000, "RIP");
  equal(p.s.gpr[RSP], 0x8000 - 16, "RSP");
  equal(p.get<uint64_t>(0x8000 - 16), 0x1008, "return RIP");
  equal(p.get<uint64_t>(0x8000 - 8), 0x30, "return CS");
  equal(p.run(), "halt", "RETF with REX.W");
  equal(p.s.gpr[RSP], 0x8000, "RSP after RETF");
  Machine q(v);
  pointer(q.long64());
  q.code64(0x1000, "rex.w jmp far [0x8000]", "48ff2c2500800000").code64(0x2000, "out 0x55,al", "e655");
  equal(q.run(), "out 55", "far JMP with REX.W");
  Machine r(v);
  pointer(r.long64());
  r.put<uint16_t>(r.intel() ? 0x8008 : 0x8004, 0x10).code64(0x1000, "lgs rax,[0x8000]; hlt", "480fb5042500800000f4");
  r.s.gpr[RAX] = ~uint64_t{0};
  equal(r.run(), "halt", "LGS with REX.W");
  equal(r.s.gpr[RAX], 0x2000, "RAX");
  equal(r.s.seg[GS].selector, 0x10, "GS");

  // The smaller sizes are the same on both.
  struct Return {
    const char* what;
    const char* code;
    unsigned slot, slots;
  };
  const Return returns[] = {
      {"RETF of 16 bits", "66cb", 2, 2},     {"RETF of 32 bits", "cb", 4, 2}, {"RETF of 64 bits", "48cb", 8, 2},
      {"IRET of 16 bits", "66cf", 2, 5},     {"IRET of 32 bits", "cf", 4, 5}, {"IRET of 64 bits", "48cf", 8, 5},
      {"RETF 8 of 32 bits", "ca0800", 4, 2},
  };
  for (const Return& each : returns) {
    Machine t(v);
    t.long64().hex(0x1000, each.code).code64(0x2000, "out 0x55,al", "e655");
    const uint64_t frame[] = {0x2000, 0x30, 0x402, 0x9f00, 0x38};
    std::memset(t.ram.base + 0x8000, 0xff, 0x100);
    for (unsigned i = 0; i < each.slots; ++i) std::memcpy(t.ram.base + 0x8000 + i * each.slot, &frame[i], each.slot);
    t.s.gpr[RSP] = 0x8000;
    equal(t.run(), "out 55", each.what);
    const unsigned released = each.code[1] == 'a' ? 8 : 0;
    equal(t.s.gpr[RSP], each.slots == 5 ? 0x9f00 : 0x8000 + 2 * each.slot + released, each.what);
    equal(t.s.rflags & kDF, each.slots == 5 ? kDF : 0, each.what);
  }

  // Of a return of 64 bits to compatibility mode AMD's processors hold the whole offset against the limit, Intel's drop
  // its upper half.
  for (bool interrupt : {false, true}) {
    Machine t(v);
    t.long64().hex(0x1000, interrupt ? "48cf" : "48cb").code32(0x2000, "out 0x55,al", "e655");
    const uint64_t frame[] = {0x100002000, 0x08, 2, 0x9f00, 0x10};
    std::memcpy(t.ram.base + 0x8000, frame, sizeof frame);
    t.s.gpr[RSP] = 0x8000;
    equal(t.run(), t.intel() ? "out 55" : "out d", interrupt ? "IRETQ" : "RETFQ");
    equal(t.s.seg[CS].selector, t.intel() ? 0x08 : 0x30, "CS");
    if (t.intel()) equal(t.s.rip, 0x2000, "RIP");
  }
}

void callGates(Vendor v) {
  Machine m(v);
  m.prot32().user().gdt(0x60, gate(0x08, 0x2000, 0xec, 2));
  m.s.tr.limit = 0x67;
  m.code32(0x1000, "push dword 0x11; push dword 0x22; call 0x63:0; mov ecx,esp; int 0x80",
           "6a116a229a00000000630089e1cd80");
  m.code32(0x2000, "mov eax,[esp+8]; mov ebx,[esp+12]; mov edx,[esp+20]; out 0x55,al; retf 8",
           "8b4424088b5c240c8b542414e655ca0800");
  equal(m.run(), "out 55", "in the gate");
  equal(m.s.gpr[RAX], 0x22, "second parameter");
  equal(m.s.gpr[RBX], 0x11, "first parameter");
  equal(m.s.gpr[RDX], 0x23, "old SS");
  equal(m.s.gpr[RSP], 0x7c00 - 24, "ESP");
  equal(m.top(0), 0x100b, "return EIP");
  equal(m.top(1), 0x1b, "return CS");
  equal(m.top(4), 0x9000 - 8, "old ESP");
  equal(m.resume(), "out 80", "back");
  equal(m.s.gpr[RCX], 0x9000, "ESP after RETF 8");
  equal(m.s.seg[DS].selector, 0x23, "DS");

  Machine n(v);  // 64-bit: no parameters, SS becomes null
  n.long64().user().gdt(0x60, gate(0x30, 0x2000, 0xec)).gdt(0x68, 0);
  n.code64(0x1000, "call dword far [0x8000]; int 0x80", "ff1c2500800000cd80");
  n.put<uint32_t>(0x8000, 0).put<uint16_t>(0x8004, 0x63);
  n.code64(0x2000, "mov eax,ss; out 0x55,al; db 0x48; retf", "8cd0e65548cb");
  equal(n.run(), "out 55", "in the 64-bit gate");
  equal(n.s.gpr[RAX], 0, "SS");
  equal(n.s.gpr[RSP], 0x7c00 - 32, "RSP");
  equal(n.top(0), 0x1007, "return RIP");
  equal(n.top(2), 0x9000, "old RSP");
  equal(n.resume(), "out 80", "back");
  equal(n.s.seg[SS].selector, 0, "SS");

  Machine p(v);  // gate of too little DPL
  p.prot32().user().gdt(0x60, gate(0x08, 0x2000, 0x8c)).code32(0x1000, "call 0x60:0", "9a000000006000");
  equal(p.run(), "out d", "DPL");
  equal(p.top(0), 0x60, "error");
  Machine q(v);
  q.prot32().user().gdt(0x60, gate(0x08, 0x2000, 0x6c)).code32(0x1000, "call 0x60:0", "9a000000006000");
  equal(q.run(), "out b", "not present");
}

void farTransfers(Vendor v) {
  Machine m(v);  // conforming code keeps the privilege, and returns to it
  m.prot32().user().gdt(0x60, descriptor(0, 0xfffff, 0xc9f));
  m.code32(0x1000, "call 0x60:0x2000; int 0x80", "9a002000006000cd80").code32(0x2000, "mov eax,cs; retf", "8cc8cb");
  equal(m.run(), "out 80", "conforming");
  equal(m.s.gpr[RAX], 0x63, "CS");
  Machine n(v);
  n.prot32().user().code32(0x1000, "jmp 0x08:0x2000", "ea002000000800");
  equal(n.run(), "out d", "to more privilege");
  equal(n.top(0), 8, "error");
  Machine p(v);
  p.prot32().gdt(0x60, descriptor(0, 0xfff, 0x49b)).code32(0x1000, "jmp 0x60:0x1000", "ea001000006000");
  equal(p.run(), "out d", "beyond the limit");
  equal(p.top(0), 0, "error");
  Machine q(v);  // a return to less privilege drops segments that it may not use
  q.prot32().code32(0x1000, "push dword 0x23; push dword 0x9000; push dword 0x1b; push dword 0x1100; retf",
                    "6a2368009000006a1b6800110000cb");
  q.code32(0x1100, "mov eax,ds; mov ebx,ss; int 0x80", "8cd88cd3cd80");
  equal(q.run(), "out 80", "outer return");
  equal(q.s.gpr[RAX], 0, "DS");
  equal(q.s.gpr[RBX], 0x23, "SS");
  equal(q.top(3), 0x9000, "ESP");
  Machine r(v);
  r.prot32().code32(0x1000, "push dword 0x10; push dword 0x9000; push dword 0x1b; push dword 0x1100; retf",
                    "6a1068009000006a1b6800110000cb");
  equal(r.run(), "out d", "SS of another privilege");
  equal(r.top(0), 0x10, "error");
  equal(r.s.gpr[RSP], 0x8000 - 32, "nothing was popped");
}

void questions(Vendor v) {
  Machine m(v);
  m.prot32().user().gdt(0x60, descriptor(0x1234, 0x12345, 0x8f3)).gdt(0x68, descriptor(0, 0xfff, 0xf9));
  m.gdt(0x70, descriptor(0, 0xfff, 0x93));
  m.code32(0x1000,
           "xor edi,edi; lar eax,[0x8000]; setz [0x9000]; lsl ebx,[0x8000]; setz [0x9001]; mov cx,0x68; verr cx; "
           "setz [0x9002]; mov cx,0x60; verw cx; setz [0x9003]; mov cx,0x70; lar edi,ecx; setz [0x9004]; "
           "mov cx,0x10; mov dx,3; arpl cx,dx; setz [0x9005]; arpl cx,dx; setz [0x9006]; int 0x80",
           "31ff0f0205008000000f9405009000000f031d008000000f94050190000066b968000f00e10f94050290000066b960000f00e90f940"
           "50390000066b970000f02f90f94050490000066b9100066ba030063d10f94050590000063d10f940506900000cd80");
  m.put<uint16_t>(0x8000, 0x60);
  equal(m.run(), "out 80", "exit");
  equal(m.s.gpr[RAX] & 0xf0ff00, 0x80f300, "LAR");
  equal(m.s.gpr[RBX], 0x12345fff, "LSL");
  equal(m.s.gpr[RDI], 0, "LAR of more privilege");
  equal(m.s.gpr[RCX] & 0xffff, 0x13, "ARPL");
  equal(m.get<uint64_t>(0x9000), 0x010001000101, "ZF of each");
}

// ---- Events
// -----------------------------------------------------------------------------------------------------------
void interruptFrames(Vendor v) {
  Machine m(v);  // an interrupt gate clears IF, a trap gate doesn't; NT and TF are cleared by both
  m.prot32().put(kIdt + 0x30 * 8, gate(0x08, 0x2000, 0x8e)).put(kIdt + 0x31 * 8, gate(0x08, 0x2010, 0x8f));
  m.s.rflags = 0x4202;
  m.code32(0x1000, "int 0x30; int 0x31; hlt", "cd30cd31f4");
  m.code32(0x2000, "pushf; pop eax; add esp,12; jmp 0x1002", "9c5883c40ce9f8efffff")
      .code32(0x2010, "pushf; pop ebx; hlt", "9c5bf4");
  equal(m.run(), "halt", "exit");
  equal(m.s.gpr[RAX] & 0x4300, 0, "EFLAGS in the interrupt gate");
  equal(m.s.gpr[RBX] & 0x4300, 0, "EFLAGS in the trap gate, IF was 0");
  Machine n(v);
  n.prot32().put(kIdt + 0x31 * 8, gate(0x08, 0x2010, 0x8f)).s.rflags = 0x202;
  n.code32(0x1000, "int 0x31; hlt", "cd31f4").code32(0x2010, "pushf; pop ebx; iret", "9c5bcf");
  equal(n.run(), "halt", "exit");
  equal(n.s.gpr[RBX], 0x202, "EFLAGS in the trap gate");

  Machine p(v);  // a 16-bit gate pushes words
  p.prot32().put(kIdt + 0x30 * 8, gate(0x50, 0x2000, 0x86));
  p.code32(0x1000, "int 0x30; hlt", "cd30f4")
      .code16(0x2000, "mov bp,sp; mov eax,[esp]; mov bx,[esp+4]; iret", "89e566678b0424678b5c2404cf");
  equal(p.run(), "halt", "16-bit gate");
  equal(p.s.gpr[RAX], 0x00081002, "CS:IP");
  equal(p.s.gpr[RBX] & 0xffff, 2, "FLAGS");
  equal(p.s.gpr[RSP], 0x8000, "ESP");

  Machine q(v);  // from privilege 3: the stack of the TSS
  q.prot32().user().code32(0x1000, "mov eax,0x1234; int 0x80", "b834120000cd80");
  equal(q.run(), "out 80", "INT 80");
  const uint32_t frame[] = {0x1007, 0x1b, 2, 0x9000, 0x23};
  for (unsigned i = 0; i < 5; ++i) equal(q.top(i), frame[i], "frame");
  equal(q.s.seg[SS].selector, 0x10, "SS");
  equal(q.s.seg[DS].selector, 0x23, "DS stays");
}

void gateChecks(Vendor v) {
  struct Case {
    const char* what;
    uint64_t entry;
    const char* outcome;
    unsigned error;
  };
  const Case cases[] = {
      {"DPL 0 from privilege 3", gate(0x08, 0x2000, 0x8e), "out d", 0x402},
      {"not present", gate(0x08, 0x2000, 0x6e), "out b", 0x402},
      {"no gate", gate(0x08, 0x2000, 0xe2), "out d", 0x402},
      {"null selector", gate(0, 0x2000, 0xee), "out d", 0},
      {"data segment", gate(0x10, 0x2000, 0xee), "out d", 0x10},
      {"beyond the GDT", gate(0x100, 0x2000, 0xee), "out d", 0x100},
      {"code not present", gate(0x60, 0x2000, 0xee), "out b", 0x60},
      {"offset beyond the limit", gate(0x68, 0x2000, 0xee), "out d", 0},
  };
  for (const Case& c : cases) {
    Machine m(v);
    m.prot32().user().gdt(0x60, descriptor(0, 0xfffff, 0xc1b)).gdt(0x68, descriptor(0, 0xfff, 0x49b));
    m.put(kIdt + 0x80 * 8, c.entry).code32(0x1000, "int 0x80", "cd80");
    equal(m.run(), c.outcome, c.what);
    equal(m.top(0), c.error, c.what);
    equal(m.top(1), 0x1000, "EIP");
  }
  Machine m(v);  // INT3 is checked like INT n, INT1 is not
  m.prot32().user().code32(0x1000, "int3", "cc");
  equal(m.run(), "out d", "INT3 through DPL 0");
  equal(m.top(0), 3 * 8 + 2, "error");
  Machine n(v);
  n.prot32().user().code32(0x1000, "db 0xf1; nop", "f190");
  equal(n.run(), "out 1", "INT1 through DPL 0");
  equal(n.top(0), 0x1001, "EIP");
  Machine p(v);  // an external interrupt: EXT
  p.prot32().put(kIdt + 0x30 * 8, gate(0x08, 0x2000, 0x0e)).s.rflags |= kIF;
  p.cpu.controls().inject = {EventKind::ExternalInterrupt, 0x30, false, 0, 0};
  equal(p.run(), "out b", "interrupt through an absent gate");
  equal(p.top(0), 0x30 * 8 + 3, "error");
}

void longModeFrames(Vendor v) {
  Machine m(v);
  m.long64().user().put<uint64_t>(kTss + 0x24, 0x7a08);  // IST 1
  m.put(kIdt + 0x81 * 16, gate(0x30, 0x2000, 0xee00 >> 8, 1));
  m.code64(0x1000, "int 0x81", "cd81").code64(0x2000, "out 0x66,al; iretq", "e66648cf");
  equal(m.run(), "out 66", "IST");
  equal(m.s.gpr[RSP], 0x7a00 - 40, "RSP aligned");
  const uint64_t frame[] = {0x1002, 0x2b, 2, 0x9000, 0x23};
  for (unsigned i = 0; i < 5; ++i) equal(m.top(i), frame[i], "frame");
  equal(m.s.seg[SS].selector, 0, "SS");
  m.hex(0x1002, "cd80");
  equal(m.resume(), "out 80", "IRETQ and INT 80");
  equal(m.s.gpr[RSP], 0x7c00 - 40, "RSP of the TSS");

  Machine n(v);  // IRET with NT is #GP(0)
  n.long64().s.rflags |= kNT;
  n.code64(0x1000, "iretq", "48cf");
  equal(n.run(), "out d", "NT");
  equal(n.top(0), 0, "error");

  Machine p(v);  // a handler in a 32-bit segment
  p.long64().put(kIdt + 0x80 * 16, gate(0x08, 0x2000, 0xee)).code64(0x1000, "int 0x80", "cd80");
  equal(p.run(), "out d", "32-bit handler");
  equal(p.top(0), 8, "error");

  Machine q(v);  // from compatibility mode, and back to it
  q.long64();
  q.segments(0x08, 0xc9b, 0x10);
  q.code32(0x1000, "mov eax,0x7fff0; mov esp,eax; int 0x80; hlt", "b8f0ff070089c4cd80f4");
  equal(q.run(), "out 80", "from compatibility mode");
  equal(q.s.seg[CS].selector, 0x30, "CS");
  equal(q.s.gpr[RSP], 0x7fff0 - 40, "RSP");
  equal(q.resume(), "halt", "back");
  equal(q.s.seg[CS].selector, 0x08, "CS");
  equal(q.s.gpr[RSP], 0x7fff0, "RSP");
}

void doubleFaults(Vendor v) {
  Machine m(v);  // #NP while #GP is delivered
  m.prot32().put(kIdt + 13 * 8, gate(0x08, 0x2000, 0x0e)).code32(0x1000, "mov eax,cr1", "0f20c8").hex(0x1000, "cd02");
  m.put(kIdt + 2 * 8, uint64_t{0});  // INT 2 is #GP(12), whose gate is absent
  equal(m.run(), "out 8", "contributory");
  equal(m.top(0), 0, "error of #DF");
  equal(m.top(1), 0x1000, "EIP");
  Machine n(v);  // #DF that cannot be delivered either
  n.prot32().put(kIdt + 13 * 8, uint64_t{0}).put(kIdt + 8 * 8, uint64_t{0}).hex(0x1000, "cd02");
  n.put(kIdt + 2 * 8, uint64_t{0});
  equal(n.run(), "shutdown", "triple fault");
  Machine p(v);  // #UD is benign: a page fault during its delivery is a page fault
  p.long64().put(kIdt + 6 * 16, gate(0x30, 0x3018, 0x8e, 1)).put<uint64_t>(kTss + 0x24, 0x9000);
  p.put<uint64_t>(kPt + 8 * 8, 0).code64(0x1000, "ud2", "0f0b");
  equal(p.run(), "out e", "#PF during #UD");
  equal(p.s.cr2, 0x8ff8, "CR2");
  equal(p.top(0), 2, "error");
  Machine q(v);  // a page fault during the delivery of a page fault is a double fault
  q.long64().put(kIdt + 14 * 16, gate(0x30, 0x3038, 0x8e, 1)).put<uint64_t>(kTss + 0x24, 0x9000);
  q.put<uint64_t>(kPt + 8 * 8, 0).code64(0x1000, "mov al,[0x8000]", "8a042500800000");
  equal(q.run(), "out 8", "#PF during #PF");
  equal(q.top(1), 0x1000, "RIP");
  Machine r(v);  // a page fault during #GP is delivered as such
  r.long64().put(kIdt + 13 * 16, gate(0x30, 0x3034, 0x8e, 1)).put<uint64_t>(kTss + 0x24, 0x9000);
  r.put<uint64_t>(kPt + 8 * 8, 0).put(kIdt + 2 * 16, uint64_t{0}).hex(0x1000, "cd02");
  equal(r.run(), "out e", "#PF during #GP");
}

void interruptedDelivery(Vendor v) {
  Machine m(v);
  m.prot32().unmap(0x7000).code32(0x1000, "int 0x80; hlt", "cd80f4");
  equal(m.run(), "write 7ffc", "stack not there");
  equal(m.exit->deliveryInterrupted, true, "interrupted");
  equal(m.exit->event.vector, 0x80, "vector");
  equal(static_cast<unsigned>(m.exit->event.kind), static_cast<unsigned>(EventKind::SoftwareInterrupt), "kind");
  equal(m.s.rip, 0x1000, "EIP");
  equal(m.s.gpr[RSP], 0x8000, "ESP");
  equal(m.s.rflags & kRF, 0, "RF");
  m.cpu.controls().inject = m.exit->event;
  m.prot(0x7000, 7);
  equal(m.run(), "out 80", "again");
  equal(m.top(0), 0x1002, "return EIP");
  equal(m.resume(), "halt", "back");

  Machine n(v);  // a fault: RF of the image, and the error code is kept
  n.prot32().user().unmap(0x7000).code32(0x1000, "hlt", "f4");
  equal(n.run(), "write 7bfc", "stack not there");
  equal(n.exit->event.vector, 13, "vector");
  equal(n.exit->event.hasError, true, "has an error code");
  equal(n.s.rflags & kRF, n.intel() ? kRF : 0, "RF");
  equal(n.s.cpl, 3, "CPL");
  n.cpu.controls().inject = n.exit->event;
  n.prot(0x7000, 7);
  equal(n.run(), "out d", "again");
  equal(n.top(1), 0x1000, "EIP");
  equal(n.top(3), 0x10002, "EFLAGS with RF");
}

void nmi(Vendor v) {
  Machine m(v);
  m.prot32().put(kIdt + 2 * 8, gate(0x08, 0x2000, 0x8e)).code32(0x1000, "nop; hlt", "90f4");
  m.code32(0x2000, "inc eax; iret", "40cf");
  m.cpu.controls().inject = {EventKind::Nmi, 2, false, 0, 0};
  m.cpu.controls().nmiWindow = m.intel();
  m.cpu.controls().interceptIret = !m.intel();
  equal(m.run(), m.intel() ? "nmi window" : "iret", "end of the handler");
  equal(m.s.gpr[RAX], 1, "EAX");
  equal(m.s.nmiBlocked, !m.intel(), "blocked");
  m.cpu.controls().nmiWindow = m.cpu.controls().interceptIret = false;
  equal(m.run(), "halt", "exit");
  equal(m.s.nmiBlocked, false, "blocked after IRET");
}

void shadows(Vendor v) {
  Machine m(v);
  m.prot32().cpu.controls().interruptWindow = true;
  m.code32(0x1000, "sti; nop; nop; hlt", "fb9090f4");
  equal(m.run(), "interrupt window", "after STI");
  equal(m.s.rip, 0x1002, "one instruction later");
  Machine n(v);
  n.prot32().cpu.controls().interruptWindow = true;
  n.s.rflags |= kIF;
  n.s.interruptShadow = true;
  n.code32(0x1000, "mov ax,0x10; mov ss,ax; nop; hlt", "66b810008ed090f4");
  equal(n.run(), "interrupt window", "after the shadow at entry");
  equal(n.s.rip, 0x1004, "RIP");
  n.cpu.controls().interruptWindow = false;
  n.s.rip = 0x1004;
  equal(n.run(), "halt", "exit");
  Machine p(v);
  p.prot32().code32(0x1000, "mov ax,0x10; mov ss,ax; out 0x77,al", "66b810008ed0e677");
  equal(p.run(), "out 77", "exit in the shadow of MOV SS");
  equal(p.s.interruptShadow, true, "shadow");
}

// ---- Debug exceptions
// -------------------------------------------------------------------------------------------------
constexpr uint64_t kBs = 1 << 14, kBd = 1 << 13;

void singleStep(Vendor v) {
  Machine m(v);
  m.prot32().code32(0x1000, "push dword 0x102; popf; nop; nop; hlt", "68020100009d9090f4");
  equal(m.run(), "out 1", "POPF sets TF");
  equal(m.top(0), 0x1007, "one instruction later");
  equal(m.top(2) & kTF, kTF, "TF in the frame");
  equal(m.s.dr6, 0xffff0ff0 | kBs, "DR6");
  equal(m.s.rflags & kTF, 0, "TF in the handler");
  equal(m.resume(), "out 1", "again");
  equal(m.top(0), 0x1008, "EIP");

  Machine n(v);  // MOV SS holds the trap back
  n.prot32().s.rflags |= kTF;
  n.code32(0x1000, "mov ss,[0x2000]; nop; hlt", "8e150020000090f4").put<uint16_t>(0x2000, 0x10);
  equal(n.run(), "out 1", "MOV SS");
  equal(n.top(0), 0x1007, "behind the next instruction");

  Machine p(v);  // INT n: no trap at the handler's start
  p.prot32().s.rflags |= kTF;
  p.code32(0x1000, "int 0x80; hlt", "cd80f4");
  equal(p.run(), "out 80", "INT n");
  equal(p.top(2) & kTF, kTF, "TF in the frame");

  Machine q(v);  // a fault has no trap either
  q.prot32().s.rflags |= kTF;
  q.code32(0x1000, "ud2", "0f0b");
  equal(q.run(), "out 6", "fault");

  Machine r(v);  // REP: one iteration each
  r.prot32().s.rflags |= kTF;
  r.s.gpr[RCX] = 3;
  r.s.gpr[RDI] = 0x9000;
  r.code32(0x1000, "rep stosb; hlt", "f3aaf4");
  equal(r.run(), "out 1", "REP");
  equal(r.top(0), 0x1000, "EIP");
  equal(r.s.gpr[RCX], 2, "ECX");
}

void breakpoints(Vendor v) {
  Machine m(v);  // execution: a fault, before the instruction; RF lets it pass
  m.prot32().s.dr[1] = 0x1001;
  m.s.dr7 = 0x404;
  m.code32(0x1000, "nop; inc ecx; hlt", "9041f4");
  equal(m.run(), "out 1", "execution");
  equal(m.top(0), 0x1001, "EIP");
  equal(m.s.dr6 & 0xf, 2, "DR6");
  equal(m.s.gpr[RCX], 0, "ECX");
  m.put<uint32_t>(m.s.gpr[RSP] + 8, 0x10002);
  equal(m.resume(), "halt", "IRET with RF");
  equal(m.s.gpr[RCX], 1, "ECX");

  Machine n(v);  // data: traps
  n.prot32().s.dr[0] = 0x9004;
  n.s.dr[3] = 0x9008;
  n.s.dr7 = 0x400 | 1 | 0xd << 16 | 0xc0 | 0xf0000000u;  // 0: write of 4 bytes; 3: read or write of 4
  n.code32(0x1000, "mov eax,[0x9004]; mov [0x9003],ax; mov [0x9003],al; mov eax,[0x900b]; hlt",
           "a10490000066a303900000a203900000a10b900000f4");
  equal(n.run(), "out 1", "write");
  equal(n.top(0), 0x100b, "behind the write");
  equal(n.s.dr6 & 0xf, 1, "DR6");
  equal(n.resume(), "out 1", "read");
  equal(n.top(0), 0x1015, "behind the read");
  equal(n.s.dr6 & 0xf, 8, "DR6");
  equal(n.resume(), "halt", "exit");

  Machine p(v);  // general detect
  p.prot32().s.dr7 = 0x2400;
  p.code32(0x1000, "mov eax,dr0", "0f21c0");
  equal(p.run(), "out 1", "general detect");
  equal(p.top(0), 0x1000, "EIP");
  equal(p.s.dr6 & kBd, kBd, "DR6");
  equal(p.s.dr7, 0x400, "DR7");

  Machine q(v);  // DR4 is DR6 unless CR4.DE
  q.prot32().code32(0x1000, "mov eax,dr4; mov ebx,cr4; or ebx,8; mov cr4,ebx; mov ecx,dr5",
                    "0f21e00f20e383cb080f22e30f21e9");
  q.hex(0x1000, "0f21e00f20e383cb080f22e30f21e9");
  equal(q.run(), "out 6", "DR5 with CR4.DE");
  equal(q.s.gpr[RAX], 0xffff0ff0, "DR4");
  Machine r(v);
  r.long64().code64(0x1000, "mov rax,0x100000400; mov dr7,rax", "48b800040000010000000f23f8");
  equal(r.run(), "out d", "DR7 above 32 bits");
}

// ---- Tasks
// ------------------------------------------------------------------------------------------------------------
constexpr uint64_t kTss2 = 0x6800;

void secondTask(Machine& m) {
  m.prot32().gdt(0x60, descriptor(kTss2, 0x67, 0x89));
  m.put<uint8_t>(kGdt + 0x45, 0x8b);
  m.put<uint32_t>(kTss2 + 0x20, 0x2000).put<uint32_t>(kTss2 + 0x24, 2).put<uint32_t>(kTss2 + 0x28, 0xaaaa);
  m.put<uint32_t>(kTss2 + 0x38, 0x8800);
  for (unsigned i = 0; i < 6; ++i) m.put<uint32_t>(kTss2 + 0x48 + i * 4, i == 1 ? 0x08 : 0x10);
}

// Found after the switch: the exception is of the new task. It goes through a task gate to a third one, as there may be
// no stack to be used.
void badTasks(Vendor v) {
  struct Case {
    const char* what;
    unsigned cs, ss;
    unsigned vector, error;
    unsigned ldt = 0;
  };
  const Case cases[] = {
      {"LDT in the LDT", 0x08, 0x10, 10, 0x6c, 0x6c},
      {"LDT beyond the table", 0x08, 0x10, 10, 0x1f8, 0x1f8},
      {"LDT of data", 0x08, 0x10, 10, 0x10, 0x10},
      {"LDT not present", 0x08, 0x10, 10, 0x90, 0x90},
      {"CS null", 0, 0x10, 10, 0},
      {"CS beyond the table", 0x1f8, 0x10, 10, 0x1f8},
      {"CS of data", 0x10, 0x10, 10, 0x10},
      {"CS of a TSS", 0x40, 0x10, 10, 0x40},
      {"CS of privilege 0 with RPL 3", 0x0b, 0x10, 10, 0x08},
      {"CS of privilege 3 with RPL 0", 0x18, 0x10, 10, 0x18},
      {"conforming CS of less privilege", 0x80, 0x10, 10, 0x80},
      {"CS not present", 0x70, 0x10, 11, 0x70},
      {"SS null", 0x08, 0, 10, 0},
      {"SS beyond the table", 0x08, 0x1f8, 10, 0x1f8},
      {"SS of code", 0x08, 0x08, 10, 0x08},
      {"SS read-only", 0x08, 0x88, 10, 0x88},
      {"SS of another privilege", 0x08, 0x20, 10, 0x20},
      {"SS with another RPL", 0x08, 0x13, 10, 0x10},
      {"SS not present", 0x08, 0x78, 12, 0x78},
  };
  constexpr uint64_t kTss3 = 0x7200;
  for (const Case& c : cases) {
    Machine m(v);
    secondTask(m);
    m.gdt(0x68, descriptor(kTss3, 0x67, 0x89)).gdt(0x70, descriptor(0, 0xfffff, 0xc1b));
    m.gdt(0x78, descriptor(0, 0xfffff, 0xc13)).gdt(0x80, descriptor(0, 0xfffff, 0xcff));
    m.gdt(0x88, descriptor(0, 0xfffff, 0xc91)).gdt(0x90, descriptor(0x7400, 0xf, 0x02));
    m.put<uint32_t>(kTss2 + 0x60, c.ldt).put<uint32_t>(kTss2 + 0x4c, c.cs).put<uint32_t>(kTss2 + 0x50, c.ss);
    m.put<uint32_t>(kTss3 + 0x20, 0x2800).put<uint32_t>(kTss3 + 0x24, 2).put<uint32_t>(kTss3 + 0x38, 0x8c00);
    for (unsigned i = 0; i < 6; ++i) m.put<uint32_t>(kTss3 + 0x48 + i * 4, i == 1 ? 0x08 : 0x10);
    m.put(kIdt + c.vector * 8, gate(0x68, 0, 0x85));
    m.code32(0x1000, "jmp 0x60:0", "ea000000006000").code32(0x2000, "out 0x44,al", "e644");
    m.code32(0x2800, "pop ebx; out 0x77,al", "5be677");
    equal(m.run(), "out 77", c.what);
    equal(m.s.gpr[RBX], c.error, c.what);
    equal(m.get<uint16_t>(kTss3), 0x60, "link");
    equal(m.get<uint32_t>(kTss2 + 0x20), 0x2000, "EIP of the new task");
    equal(m.get<uint32_t>(kTss + 0x20), 0x1007, "EIP of the old task");
    equal(m.get<uint8_t>(kGdt + 0x65), 0x8b, "new TSS busy");
    equal(m.get<uint8_t>(kGdt + 0x45), 0x89, "old TSS available");
  }

  Machine n(v);  // the new task's own stack for privilege 0 serves a handler behind an interrupt gate
  secondTask(n);
  for (unsigned i = 0; i < 6; ++i) n.put<uint32_t>(kTss2 + 0x48 + i * 4, i == 1 ? 0x1b : i == 2 ? 0x10 : 0x23);
  n.put<uint32_t>(kTss2 + 4, 0x7800).put<uint32_t>(kTss2 + 8, 0x10).code32(0x1000, "jmp 0x60:0", "ea000000006000");
  equal(n.run(), "out a", "SS of privilege 0 for a task of privilege 3");
  const uint32_t frame[] = {0x10, 0x2000, 0x1b, 2 | kRF, 0x8800, 0x10};  // error, EIP, CS, EFLAGS, ESP, SS
  equal(n.s.gpr[RSP], 0x7800 - sizeof frame, "ESP");
  for (unsigned i = 0; i < 6; ++i) equal(n.top(i), frame[i], "frame");
}

void taskSwitches(Vendor v) {
  Machine m(v);
  secondTask(m);
  m.code32(0x1000, "mov ebx,0x1234; call 0x60:0; mov ecx,eax; out 0x33,al", "bb341200009a00000000600089c1e633");
  m.code32(0x2000, "mov edx,ebx; out 0x44,al; mov eax,0xbbbb; iret; mov eax,0xcccc; hlt",
           "89dae644b8bbbb0000cfb8cccc0000f4");
  equal(m.run(), "out 44", "CALL");
  equal(m.s.gpr[RAX], 0xaaaa, "EAX");
  equal(m.s.gpr[RDX], 0, "EBX of the new task");
  equal(m.s.gpr[RSP], 0x8800, "ESP");
  equal(m.s.tr.selector, 0x60, "TR");
  equal(m.s.rflags & kNT, kNT, "NT");
  equal(m.s.cr0 & kTS, kTS, "TS");
  equal(m.get<uint16_t>(kTss2), 0x40, "link");
  equal(m.get<uint8_t>(kGdt + 0x65), 0x8b, "new TSS busy");
  equal(m.get<uint8_t>(kGdt + 0x45), 0x8b, "old TSS still busy");
  equal(m.get<uint32_t>(kTss + 0x34), 0x1234, "EBX saved");
  equal(m.get<uint32_t>(kTss + 0x20), 0x100c, "EIP saved");
  equal(m.resume(), "out 33", "IRET");
  equal(m.s.tr.selector, 0x40, "TR");
  equal(m.s.gpr[RBX], 0x1234, "EBX");
  equal(m.s.rflags & kNT, 0, "NT");
  equal(m.get<uint8_t>(kGdt + 0x65), 0x89, "second TSS available again");
  equal(m.get<uint32_t>(kTss2 + 0x28), 0xbbbb, "EAX saved");
  equal(m.get<uint32_t>(kTss2 + 0x24) & kNT, 0, "NT saved");

  Machine n(v);
  secondTask(n);
  n.code32(0x1000, "jmp 0x60:0", "ea000000006000").code32(0x2000, "jmp 0x60:0", "ea000000006000");
  equal(n.run(), "out d", "JMP to a busy TSS");
  equal(n.top(0), 0x60, "error");
  equal(n.top(1), 0x2000, "EIP");
  equal(n.get<uint8_t>(kGdt + 0x45), 0x89, "old TSS available");
  equal(n.s.rflags & kNT, 0, "NT");

  Machine p(v);  // a task gate for #GP: the error code goes to the new stack
  secondTask(p);
  p.put(kIdt + 13 * 8, gate(0x60, 0, 0x85)).code32(0x1000, "mov ax,0x1f8; mov ds,ax", "66b8f8018ed8");
  p.code32(0x2000, "pop ebx; out 0x44,al", "5be644");
  equal(p.run(), "out 44", "task gate");
  equal(p.s.gpr[RBX], 0x1f8, "error code");
  equal(p.get<uint32_t>(kTss + 0x20), 0x1004, "EIP saved");
  equal(p.s.gpr[RSP], 0x8800, "ESP");

  Machine q(v);  // a bad segment is a fault of the new task
  secondTask(q);
  q.put<uint32_t>(kTss2 + 0x54, 0x1f8).code32(0x1000, "jmp 0x60:0", "ea000000006000");
  equal(q.run(), "out a", "#TS");
  equal(q.top(0), 0x1f8, "error");
  equal(q.top(1), 0x2000, "EIP of the new task");
  equal(q.s.tr.selector, 0x60, "TR");

  Machine r(v);  // the T bit: a trap before the first instruction
  secondTask(r);
  r.put<uint16_t>(kTss2 + 0x64, 1).code32(0x1000, "jmp 0x60:0", "ea000000006000");
  equal(r.run(), "out 1", "T bit");
  equal(r.top(0), 0x2000, "EIP");
  equal(r.s.dr6 & 0x8000, 0x8000, "DR6.BT");

  Machine t(v);
  secondTask(t);
  t.cpu.controls().interceptTaskSwitch = true;
  t.code32(0x1000, "nop; jmp 0x60:0", "90ea000000006000");
  equal(t.run(), "task switch", "intercepted");
  equal(t.s.rip, 0x1001, "EIP");
  equal(t.exit->deliveryInterrupted, false, "deliveryInterrupted");

  Machine u(v);  // a TSS that is not there: nothing has happened
  secondTask(u);
  u.gdt(0x60, descriptor(0x20000, 0x67, 0x89))
      .unmap(0x20000)
      .code32(0x1000, "mov eax,1; jmp 0x60:0", "b801000000ea000000006000");
  equal(u.run(), "read 20000", "unmapped TSS");
  equal(u.s.rip, 0x1005, "EIP");
  equal(u.s.tr.selector, 0x40, "TR");
  equal(u.s.gpr[RAX], 1, "EAX");
}

// A TSS of 16 bits: 44 bytes, with its own places for everything.
void taskOf16Bits(Vendor v) {
  Machine m(v);
  m.prot32().gdt(0x60, descriptor(kTss2, 0x2b, 0x81)).put<uint8_t>(kGdt + 0x45, 0x8b);
  m.put<uint16_t>(kTss2 + 14, 0x2000).put<uint16_t>(kTss2 + 16, 2).put<uint16_t>(kTss2 + 18, 0xaaaa);
  m.put<uint16_t>(kTss2 + 26, 0x8800).put<uint32_t>(kTss2 + 44, 0xdeadbeef);
  for (unsigned i = 0; i < 4; ++i) m.put<uint16_t>(kTss2 + 34 + i * 2, i == 1 ? 0x08 : 0x10);
  m.code32(0x1000, "mov ebx,0x12345678; call 0x60:0; out 0x33,al", "bb785634129a000000006000e633");
  m.code32(0x2000, "out 0x44,al; mov eax,0xbbbb; iret", "e644b8bbbb0000cf");
  equal(m.run(), "out 44", "CALL");
  equal(m.s.gpr[RAX] & 0xffff, 0xaaaa, "AX");
  equal(m.s.gpr[RSP] & 0xffff, 0x8800, "SP");
  equal(m.s.tr.selector, 0x60, "TR");
  equal(m.get<uint16_t>(kTss2), 0x40, "link");
  equal(m.get<uint8_t>(kGdt + 0x65), 0x83, "new TSS busy");
  equal(m.resume(), "out 33", "IRET");
  equal(m.s.gpr[RBX], 0x12345678, "EBX, of a TSS of 32 bits");
  equal(m.get<uint16_t>(kTss2 + 14), 0x2008, "IP saved");
  equal(m.get<uint16_t>(kTss2 + 18), 0xbbbb, "AX saved");
  equal(m.get<uint32_t>(kTss2 + 44), 0xdeadbeef, "what is behind it");
}

void taskWithLdt(Vendor v) {
  constexpr uint64_t kLdtBase = 0x20000;
  Machine m(v);
  secondTask(m);
  m.gdt(0x68, descriptor(kLdtBase, 0xf, 0x82)).put(kLdtBase + 8, descriptor(0x9000, 0xfff, 0x493));
  m.put<uint32_t>(kTss2 + 0x60, 0x68).put<uint32_t>(kTss2 + 0x54, 0x0c).put<uint32_t>(0x9020, 0x5ec0de);
  m.code32(0x1000, "mov eax,1; jmp 0x60:0", "b801000000ea000000006000");
  m.code32(0x2000, "mov eax,[0x20]; out 0x44,al", "a120000000e644");
  // An exit in the middle of the switch leaves everything as it was, for it to begin again.
  m.unmap(kLdtBase);
  equal(m.run(), "read 20008", "unmapped LDT");
  equal(m.s.rip, 0x1005, "EIP");
  equal(m.s.gpr[RAX], 1, "EAX");
  equal(m.s.gpr[RSP], 0x8000, "ESP");
  equal(m.s.tr.selector, 0x40, "TR");
  equal(m.s.ldtr.selector, 0, "LDTR");
  equal(m.s.seg[CS].selector, 0x08, "CS");
  equal(m.s.cr0 & kTS, 0, "TS");
  equal(m.get<uint8_t>(kGdt + 0x65), 0x89, "new TSS available");
  m.prot(kLdtBase, kReadable | kWritable | kExecutable);
  equal(m.run(), "out 44", "mapped LDT");
  equal(m.s.gpr[RAX], 0x5ec0de, "a double word of the segment in the LDT");
  equal(m.s.ldtr.selector, 0x68, "LDTR");
  equal(m.s.ldtr.base, kLdtBase, "LDTR's base");
}

void taskInVirtual8086Mode(Vendor v) {
  Machine m(v);
  secondTask(m);
  m.put<uint32_t>(kTss2 + 4, 0x7800).put<uint32_t>(kTss2 + 8, 0x10);
  m.put<uint32_t>(kTss2 + 0x20, 0).put<uint32_t>(kTss2 + 0x24, 2 | kVM);
  for (unsigned i = 0; i < 6; ++i) m.put<uint32_t>(kTss2 + 0x48 + i * 4, i == 1 ? 0x200 : 0x300);
  m.code32(0x1000, "jmp 0x60:0", "ea000000006000").code16(0x2000, "mov bx,ds; hlt", "8cdbf4");
  equal(m.run(), "out d", "HLT of privilege 3");
  const uint32_t frame[] = {0, 2, 0x200, 2 | kRF | kVM, 0x8800, 0x300};  // error, EIP, CS, EFLAGS, ESP, SS
  for (unsigned i = 0; i < 6; ++i) equal(m.top(i), frame[i], "frame");
  equal(m.s.gpr[RBX], 0x300, "BX");
}

// ---- System instructions
// ----------------------------------------------------------------------------------------------
void systemCalls(Vendor v) {
  Machine m(v);
  m.long64().user();
  m.s.star = uint64_t{0x001b} << 48 | uint64_t{0x0030} << 32;
  m.s.lstar = 0x2000;
  m.s.sfmask = 0x300;
  m.s.rflags = 0x302 & ~kTF;
  m.gdt(0x20, descriptor(0, 0xfffff, 0xcf3));
  m.code64(0x1000, "mov eax,1; syscall; mov ebx,eax; int 0x80", "b8010000000f0589c3cd80");
  m.code64(0x2000, "mov edx,ss; pushfq; pop rsi; inc eax; db 0x48; sysret", "8cd29c5effc0480f07");
  equal(m.run(), "out 80", "SYSCALL and SYSRET");
  equal(m.s.gpr[RBX], 2, "EBX");
  equal(m.s.gpr[RDX], 0x38, "SS in the kernel");
  equal(m.s.gpr[RSI] & kIF, 0, "IF in the kernel");
  equal(m.s.gpr[RCX], 0x1007, "RCX");
  equal(m.top(1), 0x2b, "CS of the program");
  equal(m.top(2) & kIF, kIF, "IF of the program");
  equal(m.top(4), 0x23, "SS of the program");

  Machine n(v);
  n.long64().s.efer &= ~kSCE;
  n.code64(0x1000, "syscall", "0f05");
  equal(n.run(), "out 6", "without SCE");

  Machine p(v);  // SYSCALL in 32-bit code exists only in AMD's processors
  p.long64();
  p.segments(0x08, 0xc9b, 0x10);
  p.s.star = uint64_t{0x0030} << 32;
  p.s.cstar = 0x2100;
  p.code32(0x1000, "syscall", "0f05").code64(0x2100, "out 0x22,al", "e622");
  equal(p.run(), p.intel() ? "out 6" : "out 22", "in compatibility mode");

  Machine q(v);  // SYSENTER in long mode exists only in Intel's
  q.long64().s.sysenterCs = 0x30;
  q.s.sysenterEip = 0x2100;
  q.s.sysenterEsp = 0x7777000;
  q.code64(0x1000, "sysenter", "0f34").code64(0x2100, "out 0x22,al", "e622");
  equal(q.run(), q.intel() ? "out 22" : "out 6", "SYSENTER");
  if (q.intel()) equal(q.s.gpr[RSP], 0x7777000, "RSP");

  Machine r(v);
  r.prot32().code32(0x1000, "sysenter", "0f34");
  equal(r.run(), "out d", "SYSENTER with CS 0");

  Machine t(v);  // SYSRET to a non-canonical address: Intel's processors fault before, AMD's after
  t.long64().s.star = uint64_t{0x001b} << 48;
  t.s.gpr[RCX] = 0x800000000000;
  t.code64(0x1000, "db 0x48; sysret", "480f07");
  equal(t.run(), "out d", "SYSRET");
  equal(t.top(1), t.intel() ? 0x1000 : 0x800000000000, "RIP");
  equal(t.top(2), t.intel() ? 0x30 : 0x2b, "CS");
}

void ioPermission(Vendor v) {
  Machine m(v);
  m.prot32().user();
  m.s.tr.limit = 0x68 + 0x20;
  m.put<uint8_t>(kTss + 0x68 + 0x10, 0x10);  // port 84
  m.code32(0x1000, "mov dx,0x83; in al,dx; in ax,dx", "66ba8300ec66ed");
  equal(m.run(), "in 83", "allowed");
  equal(m.resume(), "out d", "the next port is not");
  equal(m.top(0), 0, "error");
  Machine n(v);
  n.prot32().user().s.tr.limit = 0x68 + 0x10;
  n.code32(0x1000, "in al,0x7f; in al,0x80", "e47fe480");
  equal(n.run(), "in 7f", "last byte but one");
  equal(n.resume(), "out d", "the byte behind must be inside too");
  Machine p(v);
  p.prot32().user().s.rflags |= kIOPL;
  p.code32(0x1000, "out 0x99,al", "e699");
  equal(p.run(), "out 99", "IOPL 3");
  Machine q(v);
  q.prot32().code32(0x1000, "xor ecx,ecx; rep outsb; rep insd", "31c9f36ef36d");
  q.s.gpr[RDX] = 0x1234;
  equal(q.run(), "out 1234", "REP with a count of 0");
  equal(q.exit->io.segment, static_cast<unsigned>(DS), "segment");
  equal(q.resume(), "in 1234", "REP INSD");
  equal(q.exit->io.operandSize, 4, "size");
  equal(q.exit->io.repeat, true, "repeat");
  equal(q.exit->io.segment, static_cast<unsigned>(ES), "segment");
}

void controlRegisters(Vendor v) {
  struct Case {
    const char* what;
    const char* code;
    const char* outcome;
  };
  // rax holds the value: 0f22c0 mov cr0,rax; 0f22d8 mov cr3; 0f22e0 mov cr4; 440f22c0 mov cr8
  const Case cases[] = {
      {"CR0 upper half",
       "48b8310000800100000"
       "00f22c0",
       "out d"},
      {"CR0 NW without CD", "b8310000a00f22c0", "out d"},
      {"CR3 too wide", "48b800000100000001000f22d8", "out d"},
      {"CR4 reserved bit", "b8200640000f22e0", "out d"},
      {"CR4 upper half", "48b820060000010000000f22e0", "out d"},
      {"CR8 above 15", "b810000000440f22c0", "out d"},
      {"CR8", "b80f000000440f22c0440f20c3f4", "halt"},
      {"CR1", "0f20c8", "out 6"},
      {"CR5", "0f22e8", "out 6"},
  };
  for (const Case& c : cases) {
    Machine m(v);
    m.long64().hex(0x1000, c.code);
    equal(m.run(), c.outcome, c.what);
  }
  Machine m(v);
  m.long64().user().code64(0x1000, "mov rax,cr0", "0f20c0");
  equal(m.run(), "out d", "MOV CR at privilege 3");
  Machine n(v);  // LMSW cannot clear PE
  n.prot32().code32(0x1000, "xor eax,eax; lmsw ax; smsw ebx; hlt", "31c00f01f00f01e3f4");
  equal(n.run(), "halt", "LMSW");
  equal(n.s.gpr[RBX] & 1, 1, "PE");
  Machine p(v);
  p.long64().cpu.controls().interceptCr0 = kCD | kNW | kET;
  p.cpu.controls().interceptCr4 = ~uint64_t{0x370fff};
  p.cpu.controls().interceptCr8 = true;
  p.code64(0x1000, "mov rax,cr0; or rax,2; mov cr0,rax; bts rax,30; mov cr0,rax",
           "0f20c04883c8020f22c0480fbae81e0f22c0");
  equal(p.run(), "cr0 write", "intercepted CR0");
  equal(p.exit->control.value, 0xc0000033, "value");
  equal(p.s.cr0, 0x80000033, "CR0");
  p.code64(0x1000, "mov eax,0x2620; mov cr4,rax; mov rdi,cr8; mov cr8,r9", "b8202600000f22e0440f20c7450f22c1").s.rip =
      0x1000;
  equal(p.run(), "cr4 write", "intercepted CR4");
  equal(p.resume(), "cr8 read", "intercepted read of CR8");
  equal(p.exit->control.cr8Register, static_cast<unsigned>(RDI), "register");
  p.s.gpr[R9] = 0x123;
  equal(p.resume(), "cr8 write", "intercepted write of CR8");
  equal(p.exit->control.value, 0x123, "value");
  if (v == Vendor::Intel) {
    Machine q(v);
    q.prot32().code32(0x1000, "mov eax,cr0; btr eax,5; mov cr0,eax", "0f20c00fbaf0050f22c0");
    equal(q.run(), "out d", "NE cleared in VMX operation");
  }
}

void privileged(Vendor v) {
  struct Case {
    const char* what;
    const char* code;
    const char* amd;
    const char* intel;
    bool user;
  };
  const Case cases[] = {
      {"HLT at privilege 3", "f4", "out d", "out d", true},
      {"INVD at privilege 3", "0f08", "out d", "out d", true},
      {"INVD", "0f08", "invd", "invd", false},
      {"CPUID at privilege 3", "0fa2", "cpuid", "cpuid", true},
      {"RDMSR at privilege 3", "0f32", "out d", "out d", true},
      {"RDMSR", "b91b0000000f32", "rdmsr", "rdmsr", false},
      {"LGDT at privilege 3", "0f0110", "out d", "out d", true},
      {"MONITOR at privilege 3", "0f01c8", "out 6", "out 6", true},
      {"MWAIT", "0f01c9", "mwait", "mwait", false},
      {"VMMCALL", "0f01d9", "refused", "out 6", true},
      {"VMCALL", "0f01c1", "out 6", "refused", true},
      {"VMRUN", "0f01d8", "refused", "out 6", false},
      {"VMRUN at privilege 3", "0f01d8", "out d", "out 6", true},
      {"VMREAD", "0f78d8", "out 6", "refused", false},
      {"VMXOFF", "0f01c4", "out 6", "refused", false},
      {"INVEPT", "660f388003", "out 6", "refused", false},
      {"RDTSCP", "0f01f9", "refused", "out 6", false},
      {"RDPMC", "0f33", "refused", "refused", false},
      {"RDPMC at privilege 3", "0f33", "out d", "out d", true},
      {"RSM", "0faa", "refused", "out 6", false},
      {"XGETBV without OSXSAVE", "0f01d0", "out 6", "out 6", false},
      {"XSETBV without OSXSAVE", "0f01d1", "out 6", "out 6", false},
      {"SWAPGS at privilege 3", "0f01f8", "out d", "out d", true},
      {"RDFSBASE without FSGSBASE", "f3480faec0", "out 6", "out 6", false},
      {"CLAC at privilege 3", "0f01ca", "out 6", "out 6", true},
      {"UD2", "0f0b", "out 6", "out 6", true},
  };
  for (const Case& c : cases) {
    Machine m(v);
    m.long64().hex(0x1000, c.code);
    if (c.user) m.user();
    equal(m.run(), m.intel() ? c.intel : c.amd, c.what);
  }
}

void tablesAndBases(Vendor v) {
  Machine m(v);  // UMIP
  m.long64().user().s.cr4 |= kUMIP;
  m.code64(0x1000, "sgdt [0x9000]", "0f01042500900000");
  equal(m.run(), "out d", "SGDT with UMIP");
  Machine n(v);
  n.long64().user().code64(0x1000, "sgdt [0x9000]; str eax; int 0x80", "0f010425009000000f00c8cd80");
  equal(n.run(), "out 80", "SGDT");
  equal(n.get<uint16_t>(0x9000), 0xff, "limit");
  equal(n.get<uint64_t>(0x9002), kGdt, "base");
  equal(n.s.gpr[RAX], 0x40, "STR");
  Machine p(v);
  p.long64().s.cr4 |= kFSGSBASE;
  p.s.kernelGsBase = 0x8000;
  p.code64(0x1000,
           "mov rax,0xffff800000001000; wrfsbase rax; rdfsbase rbx; rdfsbase ecx; swapgs; mov rdx,[gs:0]; "
           "mov rax,0x800000000000; wrgsbase rax",
           "48b8001000000080fffff3480faed0f3480faec3f30faec10f01f865488b14250000000048b80000000000800000f3480faed8");
  p.put<uint64_t>(0x8000, 0x5566);
  equal(p.run(), "out d", "WRGSBASE of a non-canonical address");
  equal(p.s.gpr[RBX], 0xffff800000001000, "RDFSBASE");
  equal(p.s.gpr[RCX], 0x1000, "RDFSBASE of 32 bits");
  equal(p.s.gpr[RDX], 0x5566, "through SWAPGS");
  Machine q(v);  // LTR and LLDT of long mode have 16-byte descriptors
  q.long64().gdt(0x60, descriptor(0x9000, 0x67, 0x89)).gdt(0x68, 0xffff8000).gdt(0x70, descriptor(0x9000, 0xff, 0x82));
  q.gdt(0x78, 0);
  q.code64(0x1000, "mov ax,0x60; ltr ax; mov ax,0x70; lldt ax; sldt ebx; hlt", "66b860000f00d866b870000f00d00f00c3f4");
  equal(q.run(), "halt", "LTR and LLDT");
  equal(q.s.tr.base, 0xffff800000009000, "TR base");
  equal(q.s.ldtr.base, 0x9000, "LDTR base");
  equal(q.s.ldtr.limit, 0xff, "LDTR limit");
  equal(q.s.gpr[RBX], 0x70, "SLDT");
  equal(q.get<uint8_t>(kGdt + 0x65), 0x8b, "busy");
  Machine r(v);
  r.long64().gdt(0x60, descriptor(0x9000, 0x2b, 0x81)).code64(0x1000, "mov ax,0x60; ltr ax", "66b860000f00d8");
  equal(r.run(), "out d", "a 16-bit TSS in long mode");
  equal(r.top(0), 0x60, "error");
}

void msrs(Vendor v) {
  struct Case {
    const char* what;
    uint32_t msr;
    uint64_t value;
    bool amd, intel;  // accepted
  };
  const Case cases[] = {
      {"LSTAR", 0xc0000082, 0xffff800000000000, true, true},
      {"LSTAR not canonical", 0xc0000082, 0x800000000000, false, false},
      {"FSBASE not canonical", 0xc0000100, 0x800000000000, false, false},
      {"KERNELGSBASE not canonical", 0xc0000102, 0x800000000000, false, false},
      {"SYSENTER_EIP not canonical", 0x176, 0x800000000000, true, false},
      {"PAT", 0x277, 0x0706050401000706, true, true},
      {"PAT of type 2", 0x277, 0x0706050401000702, false, false},
      {"PAT of type 8", 0x277, 0x0806050401000700, false, false},
      {"EFER", 0xc0000080, 0xd00, true, true},
      {"EFER without LME", 0xc0000080, 0x400, false, false},
      {"EFER bit 1", 0xc0000080, 0x502, false, false},
      {"EFER.FFXSR", 0xc0000080, 0x4500, true, false},
      {"an MSR that does not exist", 0x12345, 0, false, false},
  };
  for (const Case& c : cases) {
    Machine m(v);
    m.long64().code64(0x1000, "wrmsr; rdmsr; hlt", "0f300f32f4");
    m.s.gpr[RCX] = c.msr;
    m.s.gpr[RAX] = c.value & 0xffffffff;
    m.s.gpr[RDX] = c.value >> 32;
    const bool accepted = m.intel() ? c.intel : c.amd;
    equal(m.run(), accepted ? "halt" : "out d", c.what);
    if (accepted) equal(m.s.gpr[RDX] << 32 | m.s.gpr[RAX], c.value, c.what);
  }
  Machine m(v);  // the clock
  m.long64().s.tscOffset = 0x1200000000;
  m.code64(0x1000, "mov ecx,0x10; rdmsr; mov ebx,eax; rdtsc; sub eax,ebx; xor esi,esi; mov edi,eax; hlt",
           "b9100000000f3289c30f3129d831f689c7f4");
  equal(m.run(), "halt", "TSC");
  equal(m.s.gpr[RDX], 0x12, "EDX");
  equal(m.s.gpr[RDI], 2, "instructions between the two");
  Machine n(v);
  n.long64().s.cr4 |= kTSD;
  n.user().code64(0x1000, "rdtsc", "0f31");
  equal(n.run(), "out d", "TSD");
}

// ---- Entry
// ------------------------------------------------------------------------------------------------------------
struct EntryCase {
  const char* what;
  void (*spoil)(State&);
  bool amd;  // accepted
  bool intel;
  Refusal refusal = Refusal::State;
};

void entryChecks(Vendor v) {
  const EntryCase cases[] = {
      {"nothing wrong", [](State&) {}, true, true},
      {"CR0 above 31", [](State& s) { s.cr0 |= uint64_t{1} << 32; }, false, false},
      {"NW without CD", [](State& s) { s.cr0 |= kNW; }, false, true},
      {"PG without PE", [](State& s) { s.cr0 &= ~kPE; }, false, false},
      {"CR4 reserved bit", [](State& s) { s.cr4 |= 1 << 22; }, false, false},
      {"PAE clear", [](State& s) { s.cr4 &= ~kPAE; }, false, false},
      {"EFER bit 1", [](State& s) { s.efer |= 2; }, false, false},
      {"LME without LMA", [](State& s) { s.efer &= ~kLMA; }, true, false},
      {"CS with L and D", [](State& s) { s.seg[CS].attrib |= 0x400; }, false, false},
      {"DR6 above 31", [](State& s) { s.dr6 |= uint64_t{1} << 32; }, false, true},
      {"DR7 = 0", [](State& s) { s.dr7 = 0; }, true, true},
      {"DR7 above 31", [](State& s) { s.dr7 |= uint64_t{1} << 32; }, false, false},
      {"CR3 too wide", [](State& s) { s.cr3 |= uint64_t{1} << 62; }, true, false},
      {"LSTAR not canonical", [](State& s) { s.lstar = uint64_t{1} << 47; }, true, false, Refusal::Msrs},
      {"KERNELGSBASE not canonical", [](State& s) { s.kernelGsBase = uint64_t{1} << 47; }, true, false, Refusal::Msrs},
      {"SYSENTER_EIP not canonical", [](State& s) { s.sysenterEip = uint64_t{1} << 47; }, true, false},
      {"FS base not canonical", [](State& s) { s.seg[FS].base = uint64_t{1} << 47; }, true, false},
      {"PAT of type 2", [](State& s) { s.pat = 2; }, true, false},
      {"RFLAGS bit 1 clear", [](State& s) { s.rflags = 0; }, true, false},
      {"RFLAGS bit 15", [](State& s) { s.rflags |= 1 << 15; }, true, false},
      {"IDT limit", [](State& s) { s.idtr.limit = 0x10000; }, true, false},
      {"TR available", [](State& s) { s.tr.attrib = 0x89; }, true, false},
      {"TR of 16 bits", [](State& s) { s.tr.attrib = 0x83; }, true, false},
      {"TR not present", [](State& s) { s.tr.attrib = 0x0b; }, true, false},
      {"LDTR not present", [](State& s) { s.ldtr.attrib = 2; }, true, true},
      {"DS not accessed", [](State& s) { s.seg[DS].attrib = 0xc92; }, true, false},
      {"DS not present", [](State& s) { s.seg[DS].attrib = 0xc12; }, true, true},
      {"DS limit without G", [](State& s) { s.seg[DS].attrib = 0x493; }, true, false},
      {"SS of privilege 0 under CS of 3", [](State& s) { s.seg[CS].attrib |= 0x60; }, true, false},
      {"IF clear in the shadow of STI", [](State& s) { s.interruptShadow = s.shadowOfSti = true; }, true, false},
      {"IF clear in the shadow of MOV SS", [](State& s) { s.interruptShadow = true; }, true, true},
  };
  for (const EntryCase& c : cases) {
    Machine m(v);
    m.long64().code64(0x1000, "hlt", "f4");
    const State good = m.s;
    c.spoil(m.s);
    const State bad = m.s;
    const bool accepted = m.intel() ? c.intel : c.amd;
    const std::string outcome = m.run();
    equal(outcome, accepted ? "halt" : "invalid state", c.what);
    if (accepted || outcome == "halt") continue;
    equal(static_cast<unsigned>(m.exit->refusal), static_cast<unsigned>(m.intel() ? c.refusal : Refusal::State),
          c.what);
    equal(m.s.rip, bad.rip, "RIP");
    equal(m.run(), "invalid state", "again");
    m.s = good;
    equal(m.run(), "halt", "once repaired");
  }
  Machine m(v);
  m.real().code16(0x1000, "hlt", "f4").s.rip = 0x100001000;
  equal(m.run() == "invalid state", m.intel(), "RIP above 32 bits");
}

void injection(Vendor v) {
  struct Case {
    const char* what;
    Event event;
    uint64_t flags;
    bool shadow, blocked, real;
    const char* amd;
    const char* intel;
    Refusal refusal = Refusal::State;
  };
  const Event interrupt = {EventKind::ExternalInterrupt, 0x90, false, 0, 0},
              nonMaskable = {EventKind::Nmi, 2, false, 0, 0},
              protection = {EventKind::HardwareException, 13, true, 0x1234, 0};
  const Case cases[] = {
      {"interrupt", interrupt, 0x202, false, false, false, "out 90", "out 90"},
      {"interrupt with IF = 0", interrupt, 2, false, false, false, "out 90", "invalid state"},
      {"interrupt in a shadow", interrupt, 0x202, true, false, false, "out 90", "invalid state"},
      {"NMI", nonMaskable, 2, false, false, false, "out 2", "out 2"},
      {"NMI while blocked", nonMaskable, 2, false, true, false, "out 2", "invalid state"},
      {"NMI in a shadow", nonMaskable, 2, true, false, false, "out 2", "invalid state"},
      {"#GP", protection, 2, true, false, false, "out d", "out d"},
      {"#GP in real mode", protection, 2, false, false, true, "out d", "invalid state", Refusal::Control},
      {"error code above 16 bits",
       {EventKind::HardwareException, 13, true, 0x10000, 0},
       2,
       false,
       false,
       false,
       "out d",
       "invalid state",
       Refusal::Control},
      {"vector 30",
       {EventKind::HardwareException, 30, true, 0, 0},
       2,
       false,
       false,
       false,
       "out 1e",
       "invalid state",
       Refusal::Control},
      {"vector 31", {EventKind::HardwareException, 31, false, 0, 0}, 2, false, false, false, "invalid state", "out 1f"},
  };
  for (const Case& c : cases) {
    Machine m(v);
    if (c.real)
      m.real();
    else
      m.long64();
    m.code64(0x1000, "hlt", "f4");
    m.s.rflags = c.flags;
    m.s.interruptShadow = c.shadow;
    m.s.nmiBlocked = c.blocked;
    m.cpu.controls().inject = c.event;
    const char* expected = m.intel() ? c.intel : c.amd;
    equal(m.run(), expected, c.what);
    if (m.exit->kind == ExitKind::InvalidState) {
      equal(static_cast<unsigned>(m.exit->refusal), static_cast<unsigned>(m.intel() ? c.refusal : Refusal::State),
            c.what);
      equal(static_cast<unsigned>(m.cpu.controls().inject.kind), static_cast<unsigned>(c.event.kind),
            "still to inject");
    } else {
      equal(m.s.interruptShadow, false, "shadow after delivery");
      equal(static_cast<unsigned>(m.cpu.controls().inject.kind), 0u, "injected");
      if (c.event.hasError && !c.real && c.event.vector != 30) equal(m.top(0), c.event.error, "error code");
    }
  }
}

void cpuidModel(Vendor v) {
  const Model& processor = model(v);
  const CpuidResult zero = processor.cpuid(0, 0), features = processor.cpuid(1, 0), xsave = processor.cpuid(0xd, 0);
  char name[13] = {};
  std::memcpy(name, &zero.ebx, 4);
  std::memcpy(name + 4, &zero.edx, 4);
  std::memcpy(name + 8, &zero.ecx, 4);
  equal(std::string(name), v == Vendor::Amd ? "AuthenticAMD" : "GenuineIntel", "vendor");
  equal(zero.eax, 0xd, "highest leaf");
  equal(features.edx >> 26 & 1, 1, "SSE2");
  equal(features.ecx >> 20 & 1, 1, "SSE4.2");
  equal(features.ecx >> 28 & 1, 0, "AVX");
  equal(xsave.eax, 3, "XCR0");
  equal(xsave.ecx, 576, "size of the XSAVE area");
  equal(processor.cpuid(0x80000008, 0).eax & 0xff, processor.physicalAddressBits, "physical address bits");
}

struct Test {
  const char* name;
  void (*run)(Vendor);
};
constexpr Test kTests[] = {
    {"real to long", realToLong},
    {"long mode rules", longModeRules},
    {"virtual-8086", virtual8086},
    {"VME redirection", vmeRedirection},
    {"real mode limits", realModeLimits},
    {"paging faults", pagingFaults},
    {"jump to the handler", jumpToHandler},
    {"accessed and dirty", accessedAndDirty},
    {"page crossing", pageCrossing},
    {"legacy paging", legacyPaging},
    {"translation changes", translationChanges},
    {"physical faults", physicalFaults},
    {"segment access", segmentAccess},
    {"stack limit", stackLimit},
    {"alignment check", alignmentCheck},
    {"canonical addresses", canonicalAddresses},
    {"vendors' operand sizes", vendorsOperandSizes},
    {"call gates", callGates},
    {"far transfers", farTransfers},
    {"LAR, LSL, VERR, VERW, ARPL", questions},
    {"interrupt frames", interruptFrames},
    {"gate checks", gateChecks},
    {"long mode frames", longModeFrames},
    {"double faults", doubleFaults},
    {"interrupted delivery", interruptedDelivery},
    {"NMI", nmi},
    {"shadows", shadows},
    {"single step", singleStep},
    {"breakpoints", breakpoints},
    {"task switches", taskSwitches},
    {"bad tasks", badTasks},
    {"task of 16 bits", taskOf16Bits},
    {"task with an LDT", taskWithLdt},
    {"task in virtual-8086 mode", taskInVirtual8086Mode},
    {"system calls", systemCalls},
    {"I/O permission", ioPermission},
    {"control registers", controlRegisters},
    {"privileged instructions", privileged},
    {"tables and bases", tablesAndBases},
    {"MSRs", msrs},
    {"entry checks", entryChecks},
    {"injection", injection},
    {"CPUID", cpuidModel},
};

}  // namespace

// Arguments: names of the tests to run, or parts of them.
int main(int argc, char** argv) {
  unsigned failed = 0, passed = 0;
  for (const Test& test : kTests) {
    bool wanted = argc < 2;
    for (int i = 1; i < argc; ++i) wanted |= std::strstr(test.name, argv[i]) != nullptr;
    if (!wanted) continue;
    const int before = failures;
    currentTest = test.name;
    for (Vendor vendor : {Vendor::Amd, Vendor::Intel}) {
      currentVendor = vendor == Vendor::Amd ? "amd" : "intel";
      test.run(vendor);
    }
    (failures == before ? passed : failed) += 1;
  }
  std::printf("%d checks\n%u passed, %u failed\n", checks, passed, failed);
  return failed != 0;
}
