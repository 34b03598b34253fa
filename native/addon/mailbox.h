// The way from other threads into an environment. A threadsafe function alone would not do: a thread that calls one
// after its environment has ended touches freed memory.
#pragma once

#include <napi.h>

#include <mutex>

namespace nvmm {

class Mailbox {
 public:
  // `receive` gets each message in the environment's thread, with `function` and `context`; without an environment if
  // that is going down. The mailbox does not keep the environment alive, unless ref() says so.
  Mailbox(napi_env env, napi_value function, void* context, napi_threadsafe_function_call_js receive) : env_(env) {
    napi_value name;
    napi_create_string_utf8(env, "nvmm", NAPI_AUTO_LENGTH, &name);
    if (napi_create_threadsafe_function(env, function, nullptr, name, 0, 1, nullptr, nullptr, context, receive,
                                        &function_) != napi_ok) {
      throw Napi::Error::New(env);
    }
    unref();
  }

  ~Mailbox() { close(); }
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  void ref() { napi_ref_threadsafe_function(env_, function_); }
  void unref() { napi_unref_threadsafe_function(env_, function_); }

  // From any thread, at any time.
  void post(void* message) {
    std::lock_guard<std::mutex> guard(lock_);
    if (open_) napi_call_threadsafe_function(function_, message, napi_tsfn_nonblocking);
  }

  // Nothing is received from then on. To be called in the environment's thread, at the latest by a cleanup hook.
  void close() {
    std::lock_guard<std::mutex> guard(lock_);
    if (open_) napi_release_threadsafe_function(function_, napi_tsfn_abort);
    open_ = false;
  }

 private:
  napi_env env_;
  napi_threadsafe_function function_;
  std::mutex lock_;
  bool open_ = true;
};

}  // namespace nvmm
