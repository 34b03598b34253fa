{
  "target_defaults": {
    "cflags_cc": ["-std=c++17", "-Wall", "-Wextra", "-fvisibility=hidden", "-fno-strict-aliasing"],
    "cflags_cc!": ["-std=gnu++20", "-std=gnu++17", "-fno-exceptions", "-fno-rtti"],
    "defines": ["NAPI_VERSION=8", "NODE_ADDON_API_DISABLE_DEPRECATED", "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS"],
    "xcode_settings": {
      "CLANG_CXX_LANGUAGE_STANDARD": "c++17",
      "GCC_ENABLE_CPP_EXCEPTIONS": "YES",
      "OTHER_CPLUSPLUSFLAGS": ["-fvisibility=hidden", "-fno-strict-aliasing"]
    },
    # The modules have threads and thread-local destructors that may outlast the environment which loaded them.
    "conditions": [["OS!='mac'", { "ldflags": ["-Wl,-z,nodelete"] }]],
    "configurations": {
      "Release": {
        "cflags!": ["-fno-omit-frame-pointer"],
        "cflags_cc": ["-O2"],
        "xcode_settings": { "GCC_OPTIMIZATION_LEVEL": "2" }
      }
    }
  },
  "targets": [
    {
      # All that a process on a NetBSD host loads.
      "target_name": "nvmm",
      "dependencies": ["<!(node -p \"require('node-addon-api').targets\"):node_addon_api_except"],
      "sources": [
        "<!@(ls native/abi/check.cc native/device/*.cc native/addon/*.cc)"
      ],
      "conditions": [["OS=='netbsd'", { "sources": ["native/abi/netbsd_check.cc"] }]]
    },
    {
      # The software device, loaded on its first use.
      "target_name": "nvmm_mock",
      "dependencies": ["<!(node -p \"require('node-addon-api').targets\"):node_addon_api_except"],
      "sources": ["<!@(ls native/mock/*.cc native/mock/driver/*.cc native/mock/cpu/*.cc)"],
      # shm_open
      "conditions": [["OS!='mac'", { "libraries": ["-lrt"] }]]
    },
    {
      # Raw system calls on either device, loaded by the golden scenarios only.
      "target_name": "nvmm_raw",
      "dependencies": ["<!(node -p \"require('node-addon-api').targets\"):node_addon_api_except"],
      "sources": ["<!@(ls native/raw/*.cc native/device/*.cc)"]
    }
  ]
}
