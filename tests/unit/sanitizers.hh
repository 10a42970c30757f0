// SPDX-License-Identifier: BSD-3-Clause
// Which sanitizers a test was built with: clang tells by __has_feature, GCC by macros, but not of
// UBSan, which the presets turn on with ASan.
#pragma once

namespace strait::test {

#if defined(__has_feature)
inline constexpr bool address_sanitizer = __has_feature(address_sanitizer);
inline constexpr bool thread_sanitizer = __has_feature(thread_sanitizer);
inline constexpr bool undefined_sanitizer = __has_feature(undefined_behavior_sanitizer);
#else
#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool address_sanitizer = true;
#else
inline constexpr bool address_sanitizer = false;
#endif
#if defined(__SANITIZE_THREAD__)
inline constexpr bool thread_sanitizer = true;
#else
inline constexpr bool thread_sanitizer = false;
#endif
inline constexpr bool undefined_sanitizer = address_sanitizer;
#endif

} // namespace strait::test
