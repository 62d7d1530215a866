@echo off
rem Install the course from this folder, without a network:   install.bat [FOLDER]
rem It looks for Python $pythons_said and runs install.py.
for %%v in ($pythons) do (
    py -%%v --version >nul 2>nul && (
        py -%%v "%~dp0install.py" %*
        exit /b
    )
)
echo Python $pythons_said is needed, and the launcher "py" found none. 1>&2
echo   -^> Install it from python.org, then run install.bat again. 1>&2
exit /b 1
