// A device whose runs make a real system call each, as those of a kernel's device do: an ioctl that the null device
// refuses. For `npm run bench:run`, on both sides of the comparison.
#pragma once

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "../abi/nvmm.h"
#include "../device/forwarding_device.h"

namespace nvmm {

class SystemCallDevice final : public ForwardingDevice<RawDevice> {
 public:
  using ForwardingDevice::ForwardingDevice;
  ~SystemCallDevice() override { ::close(null_); }

  int ioctl(int fd, uint32_t request, void* argument) override {
    if (request == abi::NVMM_IOC_VCPU_RUN) ::ioctl(null_, request, argument);
    return ForwardingDevice::ioctl(fd, request, argument);
  }

 private:
  const int null_ = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
};

}  // namespace nvmm
