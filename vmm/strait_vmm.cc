// SPDX-License-Identifier: BSD-3-Clause
// strait-vmm: runs one virtual machine until its guest ends it.
#include "control/standard_files.hh"
#include "control/version.hh"
#include "ports/error.hh"
#include "vmm/config.hh"
#include "vmm/runner.hh"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

namespace {

int refuse(const std::string& why)
{
    std::fprintf(stderr, "strait-vmm: %s\n", why.c_str());
    return static_cast<int>(strait::vmm::exit_status::refused);
}

} // namespace

int main(int argc, char** argv)
{
    using namespace strait::vmm;
    const auto begun = boot_times::clock::now();
    if (!strait::control::open_standard_files()) {
        return 1; // and nobody can be told
    }
    // A log or a console that cannot be written is an error of the write.
    (void)std::signal(SIGPIPE, SIG_IGN);
    (void)std::signal(SIGXFSZ, SIG_IGN);
    try {
        const std::vector<std::string> words(argv + 1, argv + argc);
        const auto options = parse_command_line(words);
        if (options.has_error()) {
            return refuse(options.error().message);
        }
        if (options->help || options->version) {
            const std::string text =
                options->help ? help()
                              : "strait-vmm " + std::string{strait::control::version()} + "\n";
            if (std::fputs(text.c_str(), stdout) < 0 || std::fflush(stdout) != 0) {
                return refuse("the text cannot be written to the standard output: " +
                              strait::ports::describe(errno));
            }
            return 0;
        }
        return run(options->machine, begun);
    } catch (const std::exception& e) {
        return refuse(std::string{"it cannot go on: "} + e.what());
    }
}
