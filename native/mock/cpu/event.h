// What a processor delivers through the IDT, and what a hypervisor asks it to deliver.
#pragma once

#include <cstdint>

namespace nvmm::cpu {

enum class EventKind : uint8_t {
  None,
  ExternalInterrupt,
  Nmi,
  HardwareException,
  SoftwareInterrupt,            // INT n
  SoftwareException,            // INT3, INTO
  PrivilegedSoftwareException,  // INT1
};

struct Event {
  EventKind kind = EventKind::None;
  uint8_t vector = 0;
  bool hasError = false;
  uint32_t error = 0;
  uint64_t nextRip = 0;  // what the software kinds push
};

}  // namespace nvmm::cpu
