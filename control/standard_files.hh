// SPDX-License-Identifier: BSD-3-Clause
// Standard input, output and error, where whoever starts a program left some of them closed.
#pragma once

namespace strait::control {

// Before anything else opens a file: the next ones opened would become them, and a lock file or a
// socket would be written what is meant for people. Input and error are then /dev/null; output is
// one that cannot be written, so that who asked for an answer learns that there is none. False: not
// even that could be opened.
[[nodiscard]] bool open_standard_files() noexcept;

} // namespace strait::control
