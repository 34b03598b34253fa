// A device whose runs never end, whoever kicks: what a driver would be that lets go of nothing. They say SHUTDOWN when
// they have begun.
#pragma once

#include <unistd.h>

#include "../abi/nvmm.h"
#include "../device/forwarding_device.h"

namespace nvmm {

class StuckDevice final : public ForwardingDevice<RawDevice> {
 public:
  using ForwardingDevice::ForwardingDevice;

  int ioctl(int fd, uint32_t request, void* argument) override {
    if (request != abi::NVMM_IOC_VCPU_RUN) return ForwardingDevice::ioctl(fd, request, argument);
    auto& reason = static_cast<abi::nvmm_ioc_vcpu_run*>(argument)->exit.reason;
    __atomic_store_n(&reason, abi::NVMM_VCPU_EXIT_SHUTDOWN, __ATOMIC_RELEASE);
    for (;;) ::pause();
  }
};

}  // namespace nvmm
