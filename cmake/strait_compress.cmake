# SPDX-License-Identifier: BSD-3-Clause
# Run by CPack on what it is about to pack: manual pages and the list of changes are compressed, as
# Debian's policy has it, without a time, so that the same sources make the same package.

file(GLOB_RECURSE files
     "${CPACK_TEMPORARY_DIRECTORY}/usr/share/man/*"
     "${CPACK_TEMPORARY_DIRECTORY}/usr/share/doc/strait/changelog")
foreach(file IN LISTS files)
    execute_process(COMMAND gzip -9n "${file}" COMMAND_ERROR_IS_FATAL ANY)
endforeach()
