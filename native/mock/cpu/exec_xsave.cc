// FXSAVE, FXRSTOR, XSAVE, XRSTOR, LDMXCSR, STMXCSR.
#include <cstring>

#include "fpu.h"
#include "handlers.h"
#include "segments.h"
#include "simd.h"

namespace nvmm::cpu {
namespace {

constexpr unsigned kX87 = 1, kSse = 2;  // state components
constexpr unsigned kFxsaveSize = sizeof(FpuImage);
constexpr unsigned kFxsaveAlign = 16, kXsaveAlign = 64;

struct XsaveHeader {
  uint64_t xstateBv, xcompBv, reserved[6];
};
constexpr unsigned kXsaveSize = kFxsaveSize + sizeof(XsaveHeader);

// A place outside the segment comes first: its fault may be #SS. Alignment checks, where they are enabled, are of words
// of 32 bits.
bool alignedTo(Core& core, const Insn* insn, unsigned alignment) {
  const uint64_t offset = core.address(insn), linear = core.window[insn->segment].base + offset;
  if (!(linear & (alignment - 1))) return true;
  const bool inside = core.code64() ? core.canonical(offset) : offset + 7 < core.window[SS].readEnd;
  if (insn->segment == SS && !inside) return core.raise(vector::SS, 0);
  return core.raise(misaligned(core, linear, sizeof(uint32_t)) ? vector::AC : vector::GP, 0);
}

unsigned xmmCount(const Core& core) { return core.code64() ? 16 : 8; }

// AMD's fast FXSAVE and FXRSTOR leave the XMM registers alone.
bool fast(const Core& core) { return core.state.efer & kFFXSR && core.state.cpl == 0 && core.code64(); }

// The memory operand as a place for reads and writes at once. `size`: of the access that is checked.
class Area {
 public:
  Area(Core& core) : core_(core) {}
  bool open(const Insn* insn, unsigned size) { return core_.spanSlow(insn->segment, core_.address(insn), size, span_); }
  void store(unsigned offset, const void* from, unsigned size) { core_.storeSpan(part(offset, size), from, size); }
  void load(unsigned offset, void* to, unsigned size) { core_.loadSpan(part(offset, size), to, size); }

 private:
  Span part(unsigned offset, unsigned size) const {
    Span part{};
    if (offset >= span_.firstBytes) {
      part.host = span_.host2 + (offset - span_.firstBytes);
      part.firstBytes = size;
    } else {
      part.host = span_.host + offset;
      part.firstBytes = span_.firstBytes - offset;
      if (part.firstBytes < size) part.host2 = span_.host2;
    }
    return part;
  }

  Core& core_;
  Span span_{};
};

// The offsets in the image.
constexpr unsigned kMxcsrOffset = 24, kStOffset = 32, kXmmOffset = 160, kHeaderOffset = 512;

// FIP and FDP in the operand's form: whole with REX.W, as far as the processor has them, else 32 bits.
uint64_t pointer(const Core& core, const Insn* insn, uint64_t value) {
  if (insn->operandSize != 8) return value & 0xffffffff;
  const unsigned missing = 64 - core.model.pointerBits;
  return static_cast<uint64_t>(static_cast<int64_t>(value << missing) >> missing);
}

// The image with what the operand's form shows. AMD's processors show the pointers of a pending exception only.
FpuImage shown(const Core& core, const Insn* insn) {
  FpuImage image;
  std::memset(static_cast<void*>(&image), 0, sizeof(image));
  const FpuImage& f = core.state.fpu;
  image.fcw = f.fcw;
  image.fsw = f.fsw;
  image.ftw = f.ftw;
  if (!core.amd() || pendingException(f)) {
    image.fop = f.fop & 0x7ff;
    image.fip = pointer(core, insn, f.fip);
    image.fdp = pointer(core, insn, f.fdp);
  }
  image.mxcsr = f.mxcsr;
  image.mxcsrMask = core.model.mxcsrMask;
  for (unsigned i = 0; i < 8; ++i) {
    image.st[i].significand = f.st[i].significand;
    image.st[i].signExponent = f.st[i].signExponent;
  }
  std::memcpy(image.xmm, f.xmm, sizeof(f.xmm));
  return image;
}

void restoreX87(Core& core, const Insn* insn, const FpuImage& image) {
  FpuImage& f = core.state.fpu;
  f.fsw = image.fsw;
  f.ftw = image.ftw;
  f.fop = image.fop & 0x7ff;
  f.fip = pointer(core, insn, image.fip);
  f.fdp = pointer(core, insn, image.fdp);
  setFcw(f, image.fcw);
  std::memcpy(f.st, image.st, sizeof(f.st));
}

bool validMxcsr(Core& core, uint32_t mxcsr) { return !(mxcsr & ~core.model.mxcsrMask) || core.raise(vector::GP, 0); }

bool xsaveAvailable(Core& core) {
  if (!(core.state.cr4 & kOSXSAVE)) return core.raise(vector::UD);
  return !(core.state.cr0 & kTS) || core.raise(vector::NM);
}

// The components that are not in their initial configuration, of which MXCSR is no part.
uint64_t inUse(const Core& core) {
  const FpuImage& f = core.state.fpu;
  bool x87 = f.fcw != kFcwInit || f.fsw || f.ftw, sse = false;
  for (const auto& st : f.st) x87 |= st.significand || st.signExponent;
  for (const Xmm& xmm : f.xmm) sse |= xmm.lane[0] || xmm.lane[1];  // those that only 64-bit code has, too
  return (x87 ? kX87 : 0) | (sse ? kSse : 0);
}

// The components that EDX:EAX asks for.
uint64_t requested(const Core& core) {
  return (core.reg<uint32_t>(RAX) | static_cast<uint64_t>(core.reg<uint32_t>(RDX)) << 32) & core.state.xcr0;
}

}  // namespace

const Insn* fxsave(Core& core, const Insn* insn) {
  Area area(core);
  if (core.state.cr0 & (kEM | kTS)) return fault(core, insn, vector::NM);
  if (!alignedTo(core, insn, kFxsaveAlign) || !area.open(insn, kFxsaveSize)) return stop(core, insn);
  const FpuImage image = shown(core, insn);
  area.store(0, &image, fast(core) ? kXmmOffset : kXmmOffset + xmmCount(core) * sizeof(Xmm));
  return next(core, insn);
}

const Insn* fxrstor(Core& core, const Insn* insn) {
  FpuImage image;
  if (core.state.cr0 & (kEM | kTS)) return fault(core, insn, vector::NM);
  if (!alignedTo(core, insn, kFxsaveAlign) ||
      !core.readSlow(insn->segment, core.address(insn), &image, sizeof(image)) || !validMxcsr(core, image.mxcsr)) {
    return stop(core, insn);
  }
  restoreX87(core, insn, image);
  core.state.fpu.mxcsr = image.mxcsr;
  if (!fast(core)) std::memcpy(core.state.fpu.xmm, image.xmm, xmmCount(core) * sizeof(Xmm));
  return next(core, insn);
}

const Insn* xsave(Core& core, const Insn* insn) {
  Area area(core);
  if (!xsaveAvailable(core) || !alignedTo(core, insn, kXsaveAlign) || !area.open(insn, kXsaveSize)) {
    return stop(core, insn);
  }
  const FpuImage image = shown(core, insn);
  const auto* bytes = reinterpret_cast<const uint8_t*>(&image);
  const uint64_t components = requested(core);
  if (components & kX87) {
    area.store(0, bytes, kMxcsrOffset);
    area.store(kStOffset, bytes + kStOffset, kXmmOffset - kStOffset);
  }
  if (components & kSse) {
    area.store(kMxcsrOffset, bytes + kMxcsrOffset, kStOffset - kMxcsrOffset);
    area.store(kXmmOffset, bytes + kXmmOffset, xmmCount(core) * sizeof(Xmm));
  }
  uint64_t xstateBv;
  area.load(kHeaderOffset, &xstateBv, sizeof(xstateBv));
  xstateBv = (xstateBv & ~components) | (components & inUse(core));
  area.store(kHeaderOffset, &xstateBv, sizeof(xstateBv));
  return next(core, insn);
}

const Insn* xrstor(Core& core, const Insn* insn) {
  struct {
    FpuImage image;
    XsaveHeader header;
  } area;
  if (!xsaveAvailable(core) || !alignedTo(core, insn, kXsaveAlign) ||
      !core.readSlow(insn->segment, core.address(insn), &area, sizeof(area))) {
    return stop(core, insn);
  }
  const XsaveHeader& header = area.header;
  if (header.xstateBv & ~core.state.xcr0 || header.xcompBv || header.reserved[0])
    return fault(core, insn, vector::GP, 0);
  const uint64_t components = requested(core), given = components & header.xstateBv;
  if (components & kSse && !validMxcsr(core, area.image.mxcsr)) return stop(core, insn);
  FpuImage initial{};
  initial.fcw = kFcwInit;
  if (components & kX87) restoreX87(core, insn, given & kX87 ? area.image : initial);
  if (components & kSse) {
    core.state.fpu.mxcsr = area.image.mxcsr;
    std::memcpy(core.state.fpu.xmm, (given & kSse ? area.image : initial).xmm, xmmCount(core) * sizeof(Xmm));
  }
  return next(core, insn);
}

const Insn* ldmxcsr(Core& core, const Insn* insn) {
  uint32_t value;
  if (!sseAvailable(core) || !core.read<uint32_t>(insn->segment, core.address(insn), value) ||
      !validMxcsr(core, value)) {
    return stop(core, insn);
  }
  core.state.fpu.mxcsr = value;
  return next(core, insn);
}

const Insn* stmxcsr(Core& core, const Insn* insn) {
  if (!sseAvailable(core) || !core.write<uint32_t>(insn->segment, core.address(insn), core.state.fpu.mxcsr)) {
    return stop(core, insn);
  }
  return next(core, insn);
}

}  // namespace nvmm::cpu
