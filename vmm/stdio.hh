// SPDX-License-Identifier: BSD-3-Clause
// Stdin and stdout as others share them: a terminal's settings, and whether they block. What goes
// through them is the console's (devices/console.hh).
#pragma once

#include <termios.h>

namespace strait::vmm {

// As they are when this is made.
class stdio_settings {
public:
    stdio_settings() noexcept;
    // Also in a signal's handler.
    void put_back() const noexcept;
    void make_raw() const noexcept; // a terminal

private:
    termios terminal_{};
    bool is_terminal_;
    int in_flags_;
    int out_flags_;
};

// A terminal is raw while this lives, and what was changed meanwhile is then put back. One at a
// time.
class raw_stdio {
public:
    raw_stdio() noexcept;
    ~raw_stdio();
    raw_stdio(const raw_stdio&) = delete;
    raw_stdio& operator=(const raw_stdio&) = delete;

private:
    stdio_settings before_;
};

// What it would do that lives, if one does, where the process ends without. Also in a signal's
// handler.
void put_stdio_back() noexcept;

} // namespace strait::vmm
