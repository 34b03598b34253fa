#include "simd.h"

namespace nvmm::cpu {

void enterMmx(Core& core) {
  X87 x(core, nullptr);
  x.rotate(-static_cast<int>(x.top()));
  x.fpu.ftw = 0xff;
}

}  // namespace nvmm::cpu
